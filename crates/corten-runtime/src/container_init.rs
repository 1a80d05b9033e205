//! `--init`: the role of our program as the container's first process.
