//! Documents, the errors they get, and the ways they lead to.
