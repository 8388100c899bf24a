//! Access control lists: who may do what with a znode.
//!
//! Spec: `spec/5-service.md`, "Access control". What it must never do: let a request pass because an
//! entry could not be understood; such an entry matches nobody.

use super::ErrorCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use std::net::IpAddr;
use std::sync::Arc;

/// A set of permissions: READ 1, WRITE 2, CREATE 4, DELETE 8, ADMIN 16.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Perms(pub i32);

impl Perms {
    pub const READ: Self = Self(1);
    pub const WRITE: Self = Self(2);
    pub const CREATE: Self = Self(4);
    pub const DELETE: Self = Self(8);
    pub const ADMIN: Self = Self(16);
    pub const ALL: Self = Self(31);

    /// Whether the two sets have a permission in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// An identity that a client has proved, or that an ACL names: a scheme and an id within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AuthId {
    /// `world`, `auth`, `digest`, `ip`, ...
    pub scheme: String,
    pub id: String,
}

impl AuthId {
    /// An identity from its two parts.
    pub fn new(scheme: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            scheme: scheme.into(),
            id: id.into(),
        }
    }

    /// `world:anyone`: everybody.
    pub fn anyone() -> Self {
        Self::new("world", "anyone")
    }

    /// The identity that a client has by its address.
    pub fn ip(address: IpAddr) -> Self {
        Self::new("ip", address.to_canonical().to_string())
    }

    /// The identity that a client has by the auth data `user:password` of the scheme `digest`.
    /// ZooKeeper takes any bytes: what is not UTF-8 becomes U+FFFD, and data without a colon is its
    /// own user.
    pub fn digest(auth: &[u8]) -> Self {
        Self::new("digest", digest_id(&String::from_utf8_lossy(auth)))
    }

    /// The identity that may do everything.
    pub fn superuser() -> Self {
        Self::new("super", "")
    }

    /// Whether this identity of a client is meant by `named`, an entry of an ACL.
    fn is_meant_by(&self, named: &Self) -> bool {
        if named.scheme == "world" && named.id == "anyone" {
            return true;
        }
        self.scheme == named.scheme
            && match self.scheme.as_str() {
                "ip" => ip_matches(&self.id, &named.id),
                // As in ZooKeeper, SASL's user of this name is every SASL user.
                "sasl" => self.id == "super" || self.id == named.id,
                _ => self.id == named.id,
            }
    }
}

/// One entry of an access control list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Acl {
    pub perms: Perms,
    pub who: AuthId,
}

/// A list as znodes hold it: shared, because most znodes have the same one.
pub type AclList = Arc<[Acl]>;

/// `world:anyone` may do everything (`OPEN_ACL_UNSAFE`).
pub fn open_unsafe() -> AclList {
    anyone(Perms::ALL)
}

/// `world:anyone` may read (`READ_ACL_UNSAFE`).
pub fn read_unsafe() -> AclList {
    anyone(Perms::READ)
}

/// A list that lets nobody but a superuser do anything: of a znode whose own is not known. (An empty list would
/// let everybody do everything.)
pub fn nobody() -> AclList {
    anyone(Perms::default())
}

fn anyone(perms: Perms) -> AclList {
    let who = AuthId::anyone();
    Arc::new([Acl { perms, who }])
}

/// Whether a client with the identities `ids` may do with a znode what takes one of the permissions
/// `perms`. An empty list lets everybody do everything, as in ZooKeeper.
pub fn permits(acl: &[Acl], perms: Perms, ids: &[AuthId]) -> bool {
    acl.is_empty()
        || ids.iter().any(|id| id.scheme == "super")
        || acl
            .iter()
            .filter(|entry| entry.perms.intersects(perms))
            .any(|entry| {
                entry.who == AuthId::anyone() || ids.iter().any(|id| id.is_meant_by(&entry.who))
            })
}

/// The schemes that lists may name beside `world`, `auth`, `digest` and `ip`: those that somebody can
/// prove an identity of. An entry for any other would lock everybody out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Schemes {
    pub sasl: bool,
    pub x509: bool,
}

/// The list to store for the list that a client asked for: without duplicates, with `auth` replaced
/// by the identities that the client has proved.
///
/// `InvalidAcl` if the list is empty, an entry is malformed or of an unknown scheme, or the client
/// asks for `auth` and has proved nothing. An address is not a proof.
pub fn fixup(acl: &[Acl], ids: &[AuthId], schemes: Schemes) -> Result<AclList, ErrorCode> {
    let mut fixed: Vec<Acl> = Vec::with_capacity(acl.len());
    let mut add = |entry: Acl| {
        if !fixed.contains(&entry) {
            fixed.push(entry);
        }
    };
    for entry in acl {
        match (entry.who.scheme.as_str(), entry.who.id.as_str()) {
            ("world", "anyone") => add(entry.clone()),
            ("auth", _) => {
                let proved = || ids.iter().filter(|id| id.is_proof());
                if proved().next().is_none() {
                    return Err(ErrorCode::InvalidAcl);
                }
                for who in proved().cloned() {
                    add(Acl {
                        perms: entry.perms,
                        who,
                    });
                }
            }
            ("digest", id) if is_digest_id(id) => add(entry.clone()),
            ("ip", range) if IpRange::parse(range).is_some() => add(entry.clone()),
            ("sasl", id) if schemes.sasl && is_sasl_id(id) => add(entry.clone()),
            ("x509", id) if schemes.x509 && is_subject(id) => add(entry.clone()),
            _ => return Err(ErrorCode::InvalidAcl),
        }
    }
    if fixed.is_empty() {
        return Err(ErrorCode::InvalidAcl);
    }
    Ok(fixed.into())
}

impl AuthId {
    /// Whether the identity took a secret to have, so that `auth` means it.
    fn is_proof(&self) -> bool {
        matches!(self.scheme.as_str(), "digest" | "sasl" | "x509")
    }
}

/// The id of the scheme `digest` for `user:password`: the user, a colon, and the SHA-1 of the whole
/// in base64.
pub fn digest_id(user_and_password: &str) -> String {
    let user = user_and_password.split(':').next().unwrap_or_default();
    let hash = Sha1::digest(user_and_password.as_bytes());
    format!("{user}:{}", BASE64.encode(hash))
}

/// ZooKeeper asks of a digest id only that it has two parts; neither what they look like, nor that
/// the first is not empty.
fn is_digest_id(id: &str) -> bool {
    // Java's split, which ZooKeeper uses, drops empty parts at the end.
    id.trim_end_matches(':').split(':').count() == 2
}

/// Whether an id of the scheme `sasl` has the form that ZooKeeper asks for: a name without `@`, or
/// Kerberos's `name[/host]@realm`.
fn is_sasl_id(id: &str) -> bool {
    match id.split_once('@') {
        None => true,
        Some((name, realm)) => name.matches('/').count() <= 1 && !realm.contains(['/', '@']),
    }
}

/// Whether an id of the scheme `x509` looks like the subject of a certificate: parts with an equals
/// sign and commas between (RFC 2253). ZooKeeper also asks whether it knows each part's name.
fn is_subject(id: &str) -> bool {
    let mut parts = Vec::from([String::new()]);
    let (mut quoted, mut escaped) = (false, false);
    for c in id.chars() {
        match c {
            ',' | ';' if !quoted && !escaped => parts.push(String::new()),
            c => parts.last_mut().expect("there is one").push(c),
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    let named = |part: &String| {
        part.split_once('=')
            .is_some_and(|(name, _)| !name.trim().is_empty())
    };
    !quoted && !escaped && parts.iter().all(named)
}

/// What an ACL's entry of the scheme `ip` means: `address` or `address/bits`.
struct IpRange {
    address: IpAddr,
    bits: u32,
}

impl IpRange {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(width), |bits| bits.parse().ok())?;
        (bits <= width).then_some(Self { address, bits })
    }

    fn contains(&self, address: IpAddr) -> bool {
        // A shift by the whole width, for 0 bits, is no shift in Rust: that range has everything.
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

fn ip_matches(client: &str, range: &str) -> bool {
    match (client.parse(), IpRange::parse(range)) {
        (Ok(address), Some(range)) => range.contains(address),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(perms: Perms, scheme: &str, id: &str) -> Acl {
        let who = AuthId::new(scheme, id);
        Acl { perms, who }
    }

    fn ip(address: &str) -> AuthId {
        AuthId::ip(address.parse().unwrap())
    }

    #[test]
    fn a_digest_is_the_sha1_of_user_and_password() {
        // The value that ZooKeeper's documentation and tools give for it.
        assert_eq!(
            digest_id("super:test"),
            "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
        );
        assert_eq!(
            AuthId::digest(b"super:test"),
            AuthId::new("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
        );
    }

    #[test]
    fn the_world_may_do_what_its_entry_says_and_nothing_more() {
        let acl = [entry(Perms(5), "world", "anyone")];
        assert!(permits(&acl, Perms::READ, &[]));
        assert!(permits(&acl, Perms::CREATE, &[ip("10.0.0.1")]));
        assert!(!permits(&acl, Perms::WRITE, &[ip("10.0.0.1")]));
    }

    #[test]
    fn an_identity_is_compared_whole_and_within_its_scheme() {
        let acl = [entry(Perms::ALL, "digest", "ann:xyz")];
        assert!(permits(
            &acl,
            Perms::WRITE,
            &[AuthId::new("digest", "ann:xyz")]
        ));
        assert!(!permits(
            &acl,
            Perms::WRITE,
            &[AuthId::new("digest", "ann:xy")]
        ));
        assert!(!permits(
            &acl,
            Perms::WRITE,
            &[AuthId::new("x509", "ann:xyz")]
        ));
        assert!(!permits(&acl, Perms::WRITE, &[]));
    }

    #[test]
    fn the_superuser_and_an_empty_list_allow_everything() {
        let acl = [entry(Perms::READ, "digest", "ann:xyz")];
        assert!(permits(&acl, Perms::ADMIN, &[AuthId::superuser()]));
        assert!(permits(&[], Perms::ADMIN, &[]));
    }

    #[test]
    fn an_address_is_compared_under_the_mask() {
        let cases = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "10.1.2.4/31", false),
            ("192.168.0.1", "0.0.0.0/0", true),
            ("192.168.0.1", "::/0", false),
            ("192.168.0.1", "192.168.0.0/33", false),
            ("192.168.0.1", "nonsense", false),
            ("2001:db8::1", "2001:db8::/32", true),
            ("2001:db9::1", "2001:db8::/32", false),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
        ];
        for (client, range, expected) in cases {
            let acl = [entry(Perms::READ, "ip", range)];
            let permitted = permits(&acl, Perms::READ, &[ip(client)]);
            assert_eq!(permitted, expected, "{client} in {range}");
        }
    }

    #[test]
    fn a_stored_list_names_who_asked_instead_of_auth() {
        let ann = AuthId::digest(b"ann:secret");
        let ids = [ip("10.0.0.1"), ann.clone()];
        let asked = [
            entry(Perms::READ, "world", "anyone"),
            entry(Perms::ALL, "auth", ""),
            entry(Perms::READ, "world", "anyone"),
        ];
        let stored = fixup(&asked, &ids, Schemes::default()).unwrap();
        let expected = [
            entry(Perms::READ, "world", "anyone"),
            entry(Perms::ALL, "digest", &ann.id),
        ];
        assert_eq!(*stored, expected);
        let nobody = fixup(&asked, &ids[..1], Schemes::default());
        assert_eq!(nobody, Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn a_list_that_is_empty_or_malformed_is_refused() {
        let none = Schemes::default();
        let valid = [
            ("digest", "ann:xyz"),
            ("digest", ":xyz"),
            ("ip", "10.0.0.0/8"),
            ("ip", "::1"),
        ];
        for (scheme, id) in valid {
            let acl = [entry(Perms::ALL, scheme, id)];
            assert_eq!(fixup(&acl, &[], none).as_deref(), Ok(&acl[..]));
        }
        let refused = [
            ("world", "everyone"),
            ("digest", "ann"),
            ("digest", "ann:"),
            ("digest", "ann:x:y"),
            ("ip", "10.0.0.0/33"),
            ("ip", "10.0.0"),
            ("ip", "10.0.0.0/x"),
            ("auth", ""),
            ("sasl", "ann"),
            ("", ""),
        ];
        for (scheme, id) in refused {
            let acl = [entry(Perms::ALL, scheme, id)];
            assert_eq!(
                fixup(&acl, &[], none),
                Err(ErrorCode::InvalidAcl),
                "{scheme}:{id}"
            );
        }
        assert_eq!(fixup(&[], &[], none), Err(ErrorCode::InvalidAcl));
    }

    #[test]
    fn a_list_names_sasl_users_and_certificates_only_where_somebody_can_prove_them() {
        let schemes = Schemes {
            sasl: true,
            x509: true,
        };
        let cases = [
            ("sasl", "ann", true),
            ("sasl", "ann/host@REALM", true),
            ("sasl", "ann@a@b", false),
            ("sasl", "a/b/c@d", false),
            ("x509", "CN=ann,O=a\\, b", true),
            ("x509", "CN=\"a, b\"", true),
            ("x509", "ann", false),
            ("x509", "CN=ann,", false),
            ("super", "", false),
        ];
        for (scheme, id, valid) in cases {
            let acl = [entry(Perms::ALL, scheme, id)];
            assert_eq!(fixup(&acl, &[], schemes).is_ok(), valid, "{scheme}:{id}");
            assert!(fixup(&acl, &[], Schemes::default()).is_err());
        }
    }

    #[test]
    fn the_sasl_user_super_is_every_sasl_user_and_nobody_else() {
        let superuser = [AuthId::new("sasl", "super")];
        let permitted =
            |scheme| permits(&[entry(Perms::ALL, scheme, "ann")], Perms::READ, &superuser);
        assert!(permitted("sasl") && !permitted("x509") && !permitted("digest"));
    }
}
