//! The data tree as simply as can be: a map of paths, and nothing that is remembered beside it.

use super::*;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Naive {
    pub znodes: BTreeMap<String, NaiveNode>,
    pub sessions: BTreeMap<i64, i32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NaiveNode {
    pub data: Data,
    pub acl: Vec<Acl>,
    pub stat: Stat,
    /// How many children were created under it.
    pub creates: i32,
}

impl Naive {
    pub fn new() -> Self {
        let mut naive = Self::default();
        for (path, cversion, children) in [
            ("/", -1, 1),
            ("/zookeeper", -2, 2),
            ("/zookeeper/config", 0, 0),
            ("/zookeeper/quota", 0, 0),
        ] {
            let is_config = path.ends_with("config");
            let stat = Stat {
                cversion,
                num_children: children,
                aversion: -i32::from(is_config),
                ..Stat::default()
            };
            let acl = match is_config {
                true => acl::read_unsafe(),
                false => acl::open_unsafe(),
            };
            let node = NaiveNode {
                data: Data::default(),
                acl: acl.to_vec(),
                stat,
                creates: 0,
            };
            naive.znodes.insert(path.to_owned(), node);
        }
        naive
    }

    /// Changes the parent's stat for a child that comes (1) or goes (-1), and says where it is.
    pub fn touch_parent(&mut self, path: &str, zxid: Zxid, difference: i32) -> String {
        let (above, _) = path.rsplit_once('/').unwrap();
        let above = if above.is_empty() { "/" } else { above };
        let parent = self.znodes.get_mut(above).unwrap();
        parent.stat.cversion += 1;
        parent.stat.num_children += difference;
        parent.stat.pzxid = zxid;
        parent.creates += i32::from(difference > 0);
        above.to_owned()
    }

    pub fn remove(&mut self, path: &str, zxid: Zxid, events: &mut Vec<(TreeEventKind, String)>) {
        self.znodes.remove(path);
        let above = self.touch_parent(path, zxid, -1);
        events.push((TreeEventKind::Deleted, path.to_owned()));
        events.push((TreeEventKind::ChildrenChanged, above));
    }

    pub fn apply(
        &mut self,
        zxid: Zxid,
        txn: &Txn,
        body: &TxnBody,
        events: &mut Vec<(TreeEventKind, String)>,
    ) -> Result<(), ErrorCode> {
        match body {
            TxnBody::Create {
                path,
                data,
                acl,
                lifetime,
                parent_cversion,
            } => {
                let valid = path != "/" && path.starts_with('/') && !path.ends_with('/');
                let (above, _) = path.rsplit_once('/').unwrap_or_default();
                let above = if above.is_empty() { "/" } else { above };
                if !valid {
                    return Err(ErrorCode::BadArguments);
                }
                if self.znodes.contains_key(path) {
                    let parent = self.znodes.get_mut(above).unwrap();
                    if *parent_cversion > parent.creates || *parent_cversion == -1 {
                        parent.creates += 1;
                        parent.stat.cversion += 2;
                        parent.stat.pzxid = zxid;
                    }
                    return Err(ErrorCode::NodeExists);
                }
                let parent = self.znodes.get(above).ok_or(ErrorCode::NoNode)?;
                if parent.stat.ephemeral_owner != SessionId(0) {
                    return Err(ErrorCode::NoChildrenForEphemerals);
                }
                let stat = Stat {
                    czxid: zxid,
                    mzxid: zxid,
                    pzxid: zxid,
                    ctime: txn.time,
                    mtime: txn.time,
                    data_length: data.len() as i32,
                    ephemeral_owner: SessionId(match lifetime {
                        Lifetime::Ephemeral => txn.session.0,
                        _ => 0,
                    }),
                    ..Stat::default()
                };
                let node = NaiveNode {
                    data: data.clone(),
                    acl: acl.to_vec(),
                    stat,
                    creates: 0,
                };
                self.znodes.insert(path.clone(), node);
                let above = self.touch_parent(path, zxid, 1);
                events.push((TreeEventKind::Created, path.clone()));
                events.push((TreeEventKind::ChildrenChanged, above));
            }
            TxnBody::Delete { path } => {
                if path == "/" || !path.starts_with('/') {
                    return Err(ErrorCode::BadArguments);
                }
                let (above, _) = path.rsplit_once('/').unwrap();
                let above = if above.is_empty() { "/" } else { above };
                let Some(node) = self.znodes.get(path) else {
                    if let Some(parent) = self.znodes.get_mut(above) {
                        parent.stat.pzxid = parent.stat.pzxid.max(zxid);
                    }
                    return Err(ErrorCode::NoNode);
                };
                if node.stat.num_children > 0 {
                    return Err(ErrorCode::NotEmpty);
                }
                self.remove(path, zxid, events);
            }
            TxnBody::SetData {
                path,
                data,
                version,
            } => {
                let node = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                node.data = data.clone();
                node.stat.data_length = data.len() as i32;
                node.stat.version = *version;
                node.stat.mzxid = zxid;
                node.stat.mtime = txn.time;
                events.push((TreeEventKind::DataChanged, path.clone()));
            }
            TxnBody::Reconfigure { data } => {
                let path = "/zookeeper/config".to_owned();
                let body = TxnBody::SetData {
                    path,
                    data: data.clone(),
                    version: -1,
                };
                self.apply(zxid, txn, &body, events)?;
            }
            TxnBody::InForce => {}
            TxnBody::SetAcl { path, acl, version } => {
                let node = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                node.acl = acl.to_vec();
                node.stat.aversion = *version;
            }
            TxnBody::Check { path, .. } => {
                self.znodes.get(path).ok_or(ErrorCode::NoNode)?;
            }
            TxnBody::CreateSession { timeout_ms } => {
                self.sessions.insert(txn.session.0, *timeout_ms);
            }
            TxnBody::CloseSession { ephemerals } => {
                self.sessions.remove(&txn.session.0);
                let own: BTreeSet<String> = self.ephemerals(txn.session.0).into_iter().collect();
                let listed = ephemerals.iter().filter(|path| own.contains(*path));
                let unlisted = own.iter().filter(|path| !ephemerals.contains(path));
                for path in listed.chain(unlisted) {
                    if self.znodes.contains_key(path) {
                        self.remove(path, zxid, events);
                    }
                }
            }
            TxnBody::Error(error) => error.map_or(Ok(()), Err)?,
            TxnBody::Multi(bodies) => {
                let results = bodies
                    .iter()
                    .map(|body| self.apply(zxid, txn, body, events));
                let results: Vec<_> = results.collect();
                results.into_iter().collect::<Result<(), _>>()?;
            }
            TxnBody::FailedMulti(_) => {}
        }
        Ok(())
    }

    pub fn ephemerals(&self, session: i64) -> Vec<String> {
        let znodes = self.znodes.iter();
        znodes
            .filter(|(_, node)| session != 0 && node.stat.ephemeral_owner.0 == session)
            .map(|(path, _)| path.clone())
            .collect()
    }

    pub fn children(&self, path: &str) -> Vec<String> {
        let prefix = if path == "/" {
            "/"
        } else {
            &format!("{path}/")
        };
        let below = self.znodes.keys().filter_map(|p| p.strip_prefix(prefix));
        below
            .filter(|name| !name.is_empty() && !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }
}
