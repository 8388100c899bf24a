//! Broken variants of the service, and the invariant that each must break.
