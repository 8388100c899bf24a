//! How a tree comes to be from its parts: a snapshot of the disk, or one that another server sent.
//!
//! Spec: `spec/6-server.md`, "Snapshots". What it must never do: make a tree that transactions could
//! not have made, such as a znode without a parent, whatever the parts say.

use super::node::Node;
use super::{SessionId, Tree, path};
use crate::types::Zxid;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why parts do not make a tree.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// Not the root, and not a parent's path, a slash and a name.
    #[error("{0:?} is not the path of a znode")]
    Path(String),
    /// Parents come before their children.
    #[error("the znode {0:?} comes before its parent or has none")]
    Orphan(String),
    /// A path comes twice.
    #[error("the znode {0:?} comes twice")]
    Twice(String),
    /// There is no znode at `/`.
    #[error("there is no root znode")]
    NoRoot,
}

/// Makes a [`Tree`] of sessions and znodes.
#[derive(Debug)]
pub struct TreeBuilder {
    tree: Tree,
}

impl TreeBuilder {
    /// The parts of the tree whose last transaction is at `last_zxid`.
    pub fn new(last_zxid: Zxid) -> Self {
        let mut tree = Tree::bare();
        tree.last_zxid = last_zxid;
        Self { tree }
    }

    /// Adds an open session and its timeout in milliseconds.
    pub fn session(&mut self, session: SessionId, timeout_ms: i32) {
        self.tree.sessions.insert(session, timeout_ms);
    }

    /// Adds a znode, after its parent. Its number of children is found by counting.
    pub fn node(&mut self, path: &str, mut node: Node) -> Result<(), BuildError> {
        node.num_children = 0;
        if self.tree.contains(path) {
            return Err(BuildError::Twice(path.to_owned()));
        }
        match path::parent(path) {
            None if path == "/" => {}
            Some(parent) if !path::basename(path).is_empty() => {
                if !self.tree.contains(parent) {
                    return Err(BuildError::Orphan(path.to_owned()));
                }
            }
            None | Some(_) => return Err(BuildError::Path(path.to_owned())),
        }
        self.tree.insert(path, node);
        Ok(())
    }

    /// The tree of all parts.
    pub fn finish(self) -> Result<Tree, BuildError> {
        match self.tree.contains("/") {
            true => Ok(self.tree),
            false => Err(BuildError::NoRoot),
        }
    }
}

/// A tree as it is serialized: the parts that the rest follows from.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Parts {
    last_zxid: Zxid,
    sessions: Vec<(SessionId, i32)>,
    nodes: Vec<(String, Node)>,
}

impl From<Tree> for Parts {
    fn from(tree: Tree) -> Self {
        Self {
            last_zxid: tree.last_zxid,
            sessions: tree.sessions.iter().map(|(id, ms)| (*id, *ms)).collect(),
            nodes: tree
                .walk()
                .map(|(path, node)| (path.to_owned(), node.clone()))
                .collect(),
        }
    }
}

impl TryFrom<Parts> for Tree {
    type Error = BuildError;

    fn try_from(parts: Parts) -> Result<Self, BuildError> {
        let mut builder = TreeBuilder::new(parts.last_zxid);
        for (session, timeout_ms) in parts.sessions {
            builder.session(session, timeout_ms);
        }
        for (path, node) in parts.nodes {
            builder.node(&path, node)?;
        }
        builder.finish()
    }
}
