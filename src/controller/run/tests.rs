//! The program against an API server without a network.
