//! Netlink sockets and messages: rtnetlink and nfnetlink.
