//! The data of a znode.
//!
//! Spec: `spec/5-service.md`, "The tree". What it must never do: take null for empty. ZooKeeper tells a
//! client which of the two it had stored.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Deref;

/// Bytes, or null, which a client may store as well. Null is not equal to empty, but as a slice it has
/// no bytes and its length is 0. The default is empty, as the data of ZooKeeper's own znodes is.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Data(Option<Bytes>);

impl Data {
    /// No data, not even empty data.
    pub const NULL: Self = Self(None);

    /// Whether this is null; empty data is not.
    pub fn is_null(&self) -> bool {
        self.0.is_none()
    }
}

impl Default for Data {
    fn default() -> Self {
        Self(Some(Bytes::new()))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(bytes) => write!(f, "{bytes:?}"),
            None => write!(f, "null"),
        }
    }
}

impl From<Bytes> for Data {
    fn from(bytes: Bytes) -> Self {
        Self(Some(bytes))
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Data {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
