//! How the leader makes a transaction of a request: it judges the request by the tree that all earlier
//! transactions will have made, and says what changes.
//!
//! Spec: `spec/5-service.md`, "Preparation"; the checks and their order are ZooKeeper's. What it must
//! never do: let a transaction through that [`Tree::apply`] would refuse, or change the tree itself.

use super::Config;
use super::secret;
use super::variant::Variant;
use super::write::Operation;
use crate::proto::CreateMode;
use crate::types::Zxid;
use crate::znode::quota::Growth;
use crate::znode::{
    Acl, AuthId, CONFIG, Data, ErrorCode, Lifetime, Node, Perms, SessionId, Tree, Ttl, Txn,
    TxnBody, acl, path,
};

/// The znodes that nobody may delete.
const SPECIAL_PATHS: [&str; 5] = ["/", "/zookeeper", "/zookeeper/quota", CONFIG, secret::PATH];

/// A version that matches every version.
const ANY_VERSION: i32 = -1;

/// Who asks, and for when.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub session: SessionId,
    pub auth: &'a [AuthId],
    pub config: &'a Config,
}

/// What one operation changes in `tree`, or why it may not.
pub fn operation(tree: &Tree, asker: Asker, operation: Operation) -> Result<TxnBody, ErrorCode> {
    match operation {
        // With another secret no session could be resumed: not even the superuser changes it.
        Operation::SetData { path, .. } | Operation::SetAcl { path, .. }
            if path == secret::PATH =>
        {
            Err(ErrorCode::NoAuth)
        }
        Operation::Create {
            path,
            data,
            acl,
            mode,
        } => create(tree, asker, path, data, &acl, mode),
        Operation::Delete { path, version } => delete(tree, asker, path, version),
        Operation::SetData {
            path,
            data,
            version,
        } => {
            let node = valid_node(tree, &path)?;
            permit(node, Perms::WRITE, asker)?;
            let growth = Growth {
                count: 0,
                bytes: data.len() as i64 - node.data.len() as i64,
            };
            stay_within_quota(tree, asker, &path, growth)?;
            Ok(TxnBody::SetData {
                version: next_version(node.version, version)?,
                path,
                data,
            })
        }
        Operation::SetAcl { path, acl, version } => {
            validate(&path)?;
            let acl = acl::fixup(&acl, asker.auth, asker.config.schemes)?;
            let node = valid_node(tree, &path)?;
            permit(node, Perms::ADMIN, asker)?;
            Ok(TxnBody::SetAcl {
                version: next_version(node.aversion, version)?,
                path,
                acl,
            })
        }
        Operation::Check { path, version } => {
            let node = valid_node(tree, &path)?;
            permit(node, Perms::READ, asker)?;
            next_version(node.version, version)?;
            Ok(TxnBody::Check { path, version })
        }
    }
}

/// What all of the operations change, each judged after those before it; or the result of each if
/// one fails: then none has an effect.
pub fn multi(tree: &Tree, zxid: Zxid, asker: Asker, operations: Vec<Operation>) -> TxnBody {
    let mut scratch = tree.clone();
    let mut bodies = Vec::with_capacity(operations.len());
    let count = operations.len();
    for asked in operations {
        match operation(&scratch, asker, asked) {
            Ok(body) => {
                let txn = Txn {
                    session: asker.session,
                    cxid: 0,
                    time: 0,
                    body,
                    digest: None,
                };
                // The next operation is judged by what this one does; what came of it is of no use.
                let _ = scratch.apply(zxid, &txn);
                bodies.push(txn.body);
            }
            Err(_) if asker.config.variant == Variant::HalfAMulti => break,
            Err(error) => {
                let mut results = vec![None; bodies.len()];
                results.push(Some(error));
                results.resize(count, Some(ErrorCode::RuntimeInconsistency));
                return TxnBody::FailedMulti(results);
            }
        }
    }
    TxnBody::Multi(bodies)
}

fn create(
    tree: &Tree,
    asker: Asker,
    mut path: String,
    data: Data,
    acl: &[Acl],
    mode: CreateMode,
) -> Result<TxnBody, ErrorCode> {
    let (lifetime, sequential) = lifetime(asker.config, mode)?;
    if !path.contains('/') || path.contains('\0') {
        return Err(ErrorCode::BadArguments);
    }
    let acl = acl::fixup(acl, asker.auth, asker.config.schemes)?;
    // The root has no parent. It is there, whatever is to be created in its place.
    let parent_path = path::parent(&path).unwrap_or("/");
    let parent = tree.node(parent_path).ok_or(ErrorCode::NoNode)?;
    permit(parent, Perms::CREATE, asker)?;
    let (sequence, parent_cversion) = tree
        .next_sequence(parent_path)
        .zip(tree.next_parent_cversion(parent_path))
        .ok_or(ErrorCode::NoNode)?;
    if sequential {
        let sequence = match asker.config.variant {
            Variant::SequenceCountsChildren => parent.num_children as i32,
            _ => sequence,
        };
        path.push_str(&format!("{sequence:010}"));
    }
    validate(&path)?;
    if tree.contains(&path) {
        return Err(ErrorCode::NodeExists);
    }
    if parent.is_ephemeral() {
        return Err(ErrorCode::NoChildrenForEphemerals);
    }
    let bytes = data.len() as i64;
    stay_within_quota(tree, asker, &path, Growth { count: 1, bytes })?;
    Ok(TxnBody::Create {
        path,
        data,
        acl,
        lifetime,
        parent_cversion,
    })
}

/// How long what a create makes is to live, and whether its name gets a number.
fn lifetime(config: &Config, mode: CreateMode) -> Result<(Lifetime, bool), ErrorCode> {
    let ttl = |ms| match (config.extended_types, Ttl::new(ms)) {
        (false, _) => Err(ErrorCode::Unimplemented),
        (true, Some(ttl)) => Ok(Lifetime::Ttl(ttl)),
        (true, None) => Err(ErrorCode::BadArguments),
    };
    Ok(match mode {
        CreateMode::Persistent => (Lifetime::Persistent, false),
        CreateMode::Ephemeral => (Lifetime::Ephemeral, false),
        CreateMode::PersistentSequential => (Lifetime::Persistent, true),
        CreateMode::EphemeralSequential => (Lifetime::Ephemeral, true),
        CreateMode::Container => (Lifetime::Container, false),
        CreateMode::Ttl(ms) => (ttl(ms)?, false),
        CreateMode::SequentialTtl(ms) => (ttl(ms)?, true),
        CreateMode::Other(_) => return Err(ErrorCode::BadArguments),
    })
}

fn stay_within_quota(
    tree: &Tree,
    asker: Asker,
    path: &str,
    growth: Growth,
) -> Result<(), ErrorCode> {
    let enforced = asker.config.enforce_quota;
    match enforced
        && tree
            .excess(path, growth)
            .iter()
            .any(|excess| excess.is_hard)
    {
        true => Err(ErrorCode::QuotaExceeded),
        false => Ok(()),
    }
}

fn delete(tree: &Tree, asker: Asker, path: String, version: i32) -> Result<TxnBody, ErrorCode> {
    if path.contains('\0') || SPECIAL_PATHS.contains(&path.as_str()) {
        return Err(ErrorCode::BadArguments);
    }
    let parent = path::parent(&path).ok_or(ErrorCode::BadArguments)?;
    let parent = tree.node(parent).ok_or(ErrorCode::NoNode)?;
    permit(parent, Perms::DELETE, asker)?;
    let node = tree.node(&path).ok_or(ErrorCode::NoNode)?;
    next_version(node.version, version)?;
    if node.num_children > 0 {
        return Err(ErrorCode::NotEmpty);
    }
    Ok(TxnBody::Delete { path })
}

fn validate(path: &str) -> Result<(), ErrorCode> {
    path::validate(path).map_err(|_| ErrorCode::BadArguments)
}

fn valid_node<'a>(tree: &'a Tree, path: &str) -> Result<&'a Node, ErrorCode> {
    validate(path)?;
    tree.node(path).ok_or(ErrorCode::NoNode)
}

/// Lets through who has the permission.
pub(super) fn permit(node: &Node, perms: Perms, asker: Asker) -> Result<(), ErrorCode> {
    match acl::permits(&node.acl, perms, asker.auth) {
        true => Ok(()),
        false => Err(ErrorCode::NoAuth),
    }
}

/// The version after `current`, if that is the one that the client expects.
fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    match expected == ANY_VERSION || expected == current {
        true => Ok(current.wrapping_add(1)),
        false => Err(ErrorCode::BadVersion),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Epoch, ServerId};
    use std::sync::LazyLock;
    use std::time::Duration;

    fn create_of(path: &str, mode: CreateMode) -> Operation {
        Operation::Create {
            path: path.into(),
            data: Data::default(),
            acl: acl::open_unsafe().to_vec(),
            mode,
        }
    }

    fn delete_of(path: &str, version: i32) -> Operation {
        let path = path.into();
        Operation::Delete { path, version }
    }

    fn set_of(path: &str, version: i32) -> Operation {
        Operation::SetData {
            path: path.into(),
            data: Data::default(),
            version,
        }
    }

    const PERSISTENT: CreateMode = CreateMode::Persistent;

    fn asker() -> Asker<'static> {
        static CONFIG: LazyLock<Config> =
            LazyLock::new(|| Config::new(ServerId(1), 1, Duration::from_secs(2)));
        Asker {
            session: SessionId(1),
            auth: &[],
            config: &CONFIG,
        }
    }

    fn tree_with(paths: &[(&str, CreateMode)]) -> Tree {
        let mut tree = Tree::default();
        for (counter, (path, mode)) in (1..).zip(paths) {
            let body = operation(&tree, asker(), create_of(path, *mode)).unwrap();
            let txn = Txn {
                session: SessionId(1),
                cxid: 0,
                time: 0,
                body,
                digest: None,
            };
            let applied = tree.apply(Zxid::new(Epoch(1), counter), &txn);
            assert!(applied.outcome.is_ok());
        }
        tree
    }

    #[test]
    fn each_request_that_cannot_be_fails_with_zookeepers_code() {
        let tree = tree_with(&[
            ("/a", PERSISTENT),
            ("/a/b", PERSISTENT),
            ("/e", CreateMode::Ephemeral),
        ]);
        let fails = |asked, code| {
            let context = format!("{asked:?}");
            assert_eq!(operation(&tree, asker(), asked), Err(code), "{context}");
        };
        fails(create_of("/a", PERSISTENT), ErrorCode::NodeExists);
        fails(create_of("/", PERSISTENT), ErrorCode::NodeExists);
        fails(create_of("/x/y", PERSISTENT), ErrorCode::NoNode);
        fails(create_of("x", PERSISTENT), ErrorCode::BadArguments);
        fails(create_of("/a/../b", PERSISTENT), ErrorCode::NoNode);
        fails(create_of("/a/", PERSISTENT), ErrorCode::BadArguments);
        fails(
            create_of("/e/x", PERSISTENT),
            ErrorCode::NoChildrenForEphemerals,
        );
        fails(delete_of("/", -1), ErrorCode::BadArguments);
        fails(delete_of("/zookeeper", -1), ErrorCode::BadArguments);
        fails(delete_of("/a", -1), ErrorCode::NotEmpty);
        fails(delete_of("/a/b", 1), ErrorCode::BadVersion);
        fails(delete_of("/x", -1), ErrorCode::NoNode);
        fails(set_of("/x", -1), ErrorCode::NoNode);
        fails(set_of("x", -1), ErrorCode::BadArguments);
        fails(set_of("/a", 7), ErrorCode::BadVersion);
        let no_acl = Operation::SetAcl {
            path: "/a".into(),
            acl: vec![],
            version: -1,
        };
        fails(no_acl, ErrorCode::InvalidAcl);
    }

    #[test]
    fn a_sequential_name_ends_with_ten_digits_that_count_the_parents_children() {
        let tree = tree_with(&[("/a", PERSISTENT), ("/a/b", PERSISTENT)]);
        for (asked, made) in [("/a/n-", "/a/n-0000000001"), ("/a/", "/a/0000000001")] {
            match operation(
                &tree,
                asker(),
                create_of(asked, CreateMode::PersistentSequential),
            ) {
                Ok(TxnBody::Create { path, .. }) => assert_eq!(path, made),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_operation_of_a_multi_sees_what_those_before_it_did() {
        let tree = Tree::default();
        let operations = vec![
            create_of("/m", PERSISTENT),
            create_of("/m/n", PERSISTENT),
            set_of("/m", 0),
            delete_of("/m/n", 0),
            delete_of("/m", 1),
        ];
        let body = multi(&tree, Zxid::new(Epoch(1), 1), asker(), operations);
        assert!(matches!(body, TxnBody::Multi(bodies) if bodies.len() == 5));
    }

    #[test]
    fn a_multi_that_fails_says_which_operation_did() {
        let tree = Tree::default();
        let operations = vec![
            create_of("/m", PERSISTENT),
            set_of("/m", 3),
            delete_of("/m", -1),
        ];
        assert_eq!(
            multi(&tree, Zxid::new(Epoch(1), 1), asker(), operations),
            TxnBody::FailedMulti(vec![
                None,
                Some(ErrorCode::BadVersion),
                Some(ErrorCode::RuntimeInconsistency),
            ])
        );
    }

    #[test]
    fn an_acl_keeps_out_whom_it_does_not_name() {
        let mut tree = Tree::default();
        let owner = AuthId::digest(b"bob:secret");
        let body = TxnBody::Create {
            path: "/p".into(),
            data: Data::default(),
            acl: [Acl {
                perms: Perms::ALL,
                who: owner.clone(),
            }]
            .into(),
            lifetime: Lifetime::Persistent,
            parent_cversion: 1,
        };
        let txn = Txn {
            session: SessionId(1),
            cxid: 0,
            time: 0,
            body,
            digest: None,
        };
        assert!(tree.apply(Zxid::new(Epoch(1), 1), &txn).outcome.is_ok());
        assert_eq!(
            operation(&tree, asker(), set_of("/p", -1)),
            Err(ErrorCode::NoAuth)
        );
        let bob = Asker {
            auth: &[owner],
            ..asker()
        };
        assert!(operation(&tree, bob, set_of("/p", -1)).is_ok());
    }
}
