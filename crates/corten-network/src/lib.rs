//! Bridges, addresses, published ports, names.
