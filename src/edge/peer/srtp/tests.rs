//! SRTP against an independent implementation, and against what a network and an attacker do.
