//! SiltDB over the network: a database served by Arrow Flight SQL.
