//! The simulator, checked.
