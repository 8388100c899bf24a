//! The server's side of SASL's mechanism DIGEST-MD5 (RFC 2831), as ZooKeeper offers it: quality of
//! protection `auth`, no reauthentication.
//!
//! Spec: `spec/6-server.md`, "Authentication". What it must never do: panic on what a client says, take
//! a response twice, or let the time that a comparison takes tell anything.

use crate::server::config::jaas::Users;
use md5::{Digest, Md5};

/// The realm and the host of ZooKeeper's servers.
const REALM: &str = "zk-sasl-md5";
/// What a response must name as the service that it is for.
const DIGEST_URI: &str = "zookeeper/zk-sasl-md5";
/// The longest response, in bytes (RFC 2831, section 2.1.2).
const LONGEST: usize = 4096;
/// The first, and here the only, use of a nonce.
const NONCE_COUNT: &str = "00000001";

/// Where an exchange stands.
#[derive(Debug)]
pub(super) enum DigestMd5 {
    /// Nothing was said.
    Fresh,
    /// The client has got the challenge with this nonce.
    Challenged { nonce: String },
    /// It is over, well or not.
    Done,
}

/// What a token of the client leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client must answer this.
    Challenge(Vec<u8>),
    /// The client has proved to be this user; the token proves the server to it.
    Proved { user: String, token: Vec<u8> },
    /// An empty word after the end: some clients close the exchange so.
    Nothing,
}

/// Why a response is refused: for the log, never for the client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("the response is malformed")]
    Malformed,
    #[error("the response lacks `{0}`")]
    Missing(&'static str),
    #[error("the response has another `{0}` than it must")]
    Other(&'static str),
    #[error("no such user, or not that password")]
    Wrong,
    #[error("the exchange is over")]
    Over,
}

impl DigestMd5 {
    /// Takes a token of the client. `fresh_nonce` makes what no client has seen.
    pub(super) fn step(
        &mut self,
        users: &Users,
        token: &[u8],
        fresh_nonce: impl FnOnce() -> String,
    ) -> Result<Step, Refusal> {
        match std::mem::replace(self, Self::Done) {
            Self::Fresh if token.is_empty() => {
                let nonce = fresh_nonce();
                let challenge = format!(
                    "realm=\"{REALM}\",nonce=\"{nonce}\",qop=\"auth\",charset=utf-8,algorithm=md5-sess"
                );
                *self = Self::Challenged { nonce };
                Ok(Step::Challenge(challenge.into_bytes()))
            }
            // RFC 2831 allows a first word only for those who come back, with an earlier nonce.
            Self::Fresh => Err(Refusal::Malformed),
            Self::Challenged { nonce } => {
                let response = Response::parse(token)?;
                response.check(&nonce)?;
                let user = response.user()?;
                // Somebody unknown is compared as well, so that it takes the same time.
                let password = users.get(&user);
                let unknown = String::new();
                let hash = response.secret_hash(password.map_or(&unknown, |p| &p.0));
                let right = response.hash(hash, "AUTHENTICATE:");
                let given = response.field("response")?;
                if !same(right.as_bytes(), given) || password.is_none() {
                    return Err(Refusal::Wrong);
                }
                let token = format!("rspauth={}", response.hash(hash, ":")).into_bytes();
                Ok(Step::Proved { user, token })
            }
            Self::Done if token.is_empty() => Ok(Step::Nothing),
            Self::Done => Err(Refusal::Over),
        }
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    a.len() == b.len() && difference == 0
}

/// A client's response: its directives, in the order in which they came.
struct Response {
    fields: Vec<(String, Vec<u8>)>,
}

impl Response {
    /// Reads `name=value` and `name="value"`, with commas between. No name may come twice.
    fn parse(token: &[u8]) -> Result<Self, Refusal> {
        if token.len() > LONGEST {
            return Err(Refusal::Malformed);
        }
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        let mut rest = token;
        loop {
            rest = skip(rest, |byte| byte == b',' || byte.is_ascii_whitespace());
            if rest.is_empty() {
                return Ok(Self { fields });
            }
            let equals = rest.iter().position(|byte| *byte == b'=');
            let (name, value) = rest.split_at(equals.ok_or(Refusal::Malformed)?);
            let name = std::str::from_utf8(name.trim_ascii()).map_err(|_| Refusal::Malformed)?;
            let name = name.to_ascii_lowercase();
            let (value, after) = read_value(skip(&value[1..], |byte| byte.is_ascii_whitespace()))?;
            if name.is_empty() || fields.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::Malformed);
            }
            fields.push((name, value));
            rest = after;
        }
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter();
        let field = fields.find(|(known, _)| known == name);
        field.map(|(_, value)| &value[..])
    }

    fn field(&self, name: &'static str) -> Result<&[u8], Refusal> {
        self.find(name).ok_or(Refusal::Missing(name))
    }

    /// Checks everything but who it is.
    fn check(&self, nonce: &str) -> Result<(), Refusal> {
        let must_be = |name, value: &str| match self.field(name)? {
            given if given.eq_ignore_ascii_case(value.as_bytes()) => Ok(()),
            _ => Err(Refusal::Other(name)),
        };
        if self.field("nonce")? != nonce.as_bytes() {
            return Err(Refusal::Other("nonce"));
        }
        must_be("nc", NONCE_COUNT)?;
        must_be("digest-uri", DIGEST_URI)?;
        if self.field("cnonce")?.is_empty() {
            return Err(Refusal::Missing("cnonce"));
        }
        // What may be left out means this.
        if self
            .find("realm")
            .is_some_and(|realm| realm != REALM.as_bytes())
        {
            return Err(Refusal::Other("realm"));
        }
        if self
            .find("qop")
            .is_some_and(|qop| !qop.eq_ignore_ascii_case(b"auth"))
        {
            return Err(Refusal::Other("qop"));
        }
        if self
            .find("charset")
            .is_some_and(|set| !set.eq_ignore_ascii_case(b"utf-8"))
        {
            return Err(Refusal::Other("charset"));
        }
        Ok(())
    }

    /// The user's name: UTF-8 if the client says so, else Latin-1.
    fn user(&self) -> Result<String, Refusal> {
        let name = self.field("username")?;
        match self.find("charset") {
            Some(_) => String::from_utf8(name.to_vec()).map_err(|_| Refusal::Malformed),
            None => Ok(name.iter().map(|byte| char::from(*byte)).collect()),
        }
    }

    /// The hash of user, realm and password: each as Latin-1 where it can be, as the RFC has it.
    fn secret_hash(&self, password: &str) -> [u8; 16] {
        let text = |bytes: &[u8]| match (self.find("charset"), std::str::from_utf8(bytes)) {
            (Some(_), Ok(text)) => latin_1(text),
            (Some(_), Err(_)) | (None, _) => bytes.to_vec(),
        };
        let user = self.find("username").unwrap_or_default();
        let realm = self.find("realm").unwrap_or_default();
        Md5::new()
            .chain_update(text(user))
            .chain_update(b":")
            .chain_update(text(realm))
            .chain_update(b":")
            .chain_update(latin_1(password))
            .finalize()
            .into()
    }

    /// The value of `response` (with `AUTHENTICATE:`) or of `rspauth` (with `:`), in hexadecimal.
    fn hash(&self, secret: [u8; 16], what: &str) -> String {
        let field = |name| self.find(name).unwrap_or_default();
        let mut a1 = Md5::new()
            .chain_update(secret)
            .chain_update(b":")
            .chain_update(field("nonce"))
            .chain_update(b":")
            .chain_update(field("cnonce"));
        if let Some(authzid) = self.find("authzid") {
            a1 = a1.chain_update(b":").chain_update(authzid);
        }
        let a2 = Md5::new()
            .chain_update(what)
            .chain_update(field("digest-uri"));
        let mut all = Md5::new().chain_update(hex(&a1.finalize()));
        for part in [field("nonce"), field("nc"), field("cnonce"), b"auth"] {
            all = all.chain_update(b":").chain_update(part);
        }
        hex(&all
            .chain_update(b":")
            .chain_update(hex(&a2.finalize()))
            .finalize())
    }
}

fn skip(bytes: &[u8], what: impl Fn(u8) -> bool) -> &[u8] {
    let start = bytes.iter().position(|byte| !what(*byte));
    &bytes[start.unwrap_or(bytes.len())..]
}

/// Reads a value, and says what comes after it.
fn read_value(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Refusal> {
    let Some(quoted) = bytes.strip_prefix(b"\"") else {
        let end = bytes.iter().position(|byte| *byte == b',');
        let (value, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        return Ok((value.trim_ascii().to_vec(), rest));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => value.push(*bytes.next().ok_or(Refusal::Malformed)?),
            b'"' => {
                let rest = skip(bytes.as_slice(), |byte| byte.is_ascii_whitespace());
                return match rest.first() {
                    None | Some(b',') => Ok((value, rest)),
                    Some(_) => Err(Refusal::Malformed),
                };
            }
            byte => value.push(*byte),
        }
    }
    Err(Refusal::Malformed)
}

/// The text as Latin-1, or as UTF-8 if it has a letter that Latin-1 lacks.
fn latin_1(text: &str) -> Vec<u8> {
    let bytes: Result<Vec<u8>, _> = text.chars().map(u8::try_from).collect();
    bytes.unwrap_or_else(|_| text.into())
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::jaas::Password;
    use proptest::prelude::*;

    fn users() -> Users {
        let pairs = [("ann", "secret"), ("jürgen", "pässword"), ("山", "川")];
        let pairs = pairs.map(|(user, password)| (user.to_owned(), Password(password.to_owned())));
        pairs.into_iter().collect()
    }

    /// An exchange that has sent its challenge with the nonce `N`.
    fn challenged() -> DigestMd5 {
        let mut exchange = DigestMd5::Fresh;
        let step = exchange.step(&users(), b"", || "N".into());
        assert!(matches!(step, Ok(Step::Challenge(_))));
        exchange
    }

    const FIELDS: [(&str, &str); 8] = [
        ("charset", "utf-8"),
        ("username", "ann"),
        ("realm", "zk-sasl-md5"),
        ("nonce", "N"),
        ("cnonce", "C"),
        ("nc", "00000001"),
        ("qop", "auth"),
        ("digest-uri", "zookeeper/zk-sasl-md5"),
    ];

    /// The response of a client that says `fields` and has this password.
    fn response(fields: &[(&str, &str)], password: &str) -> Vec<u8> {
        let said: Vec<String> = fields.iter().map(|(n, v)| format!("{n}=\"{v}\"")).collect();
        let said = said.join(",");
        let parsed = Response::parse(said.as_bytes()).unwrap();
        let hash = parsed.hash(parsed.secret_hash(password), "AUTHENTICATE:");
        format!("{said},response={hash}").into_bytes()
    }

    /// The fields with one of them changed, or left out.
    fn with<'a>(name: &'a str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
        let mut fields = FIELDS.to_vec();
        fields.retain(|(known, _)| *known != name);
        fields.extend(value.map(|value| (name, value)));
        fields
    }

    fn answer(token: &[u8]) -> Result<Step, Refusal> {
        challenged().step(&users(), token, || unreachable!())
    }

    #[test]
    fn the_hashes_are_those_of_the_examples_in_rfc_2831() {
        let imap = "charset=utf-8,username=\"chris\",realm=\"elwood.innosoft.com\",\
            nonce=\"OA6MG9tEQGm2hh\",nc=00000001,cnonce=\"OA6MHXh6VqTrRk\",\
            digest-uri=\"imap/elwood.innosoft.com\",response=d388dad90d4bbd760a152321f2143af7,qop=auth";
        let acap = "username=\"chris\",realm=\"elwood.innosoft.com\",nonce=\"OA9BSXrbuRhWay\",\
            cnonce=\"OA9BSuZWMSpW8m\",nc=00000001,qop=auth,digest-uri=\"acap/elwood.innosoft.com\",\
            response=6084c6db3fede7352c551284490fd0fc,charset=utf-8";
        let proofs = [
            (imap, "ea40f60335c427b5527b84dbabcdfffd"),
            (acap, "2f0b3d7c3c2e486600ef710726aa2eae"),
        ];
        for (text, rspauth) in proofs {
            let response = Response::parse(text.as_bytes()).unwrap();
            let secret = response.secret_hash("secret");
            let hash = response.hash(secret, "AUTHENTICATE:");
            assert_eq!(hash.as_bytes(), response.field("response").unwrap());
            assert_eq!(response.hash(secret, ":"), rspauth);
        }
    }

    #[test]
    fn who_has_the_password_is_proved_once() {
        let mut exchange = challenged();
        let token = response(&FIELDS, "secret");
        let step = exchange.step(&users(), &token, || unreachable!()).unwrap();
        assert!(matches!(step, Step::Proved { user, .. } if user == "ann"));
        let again = exchange.step(&users(), &token, || unreachable!());
        assert_eq!(again, Err(Refusal::Over));
        let end = exchange.step(&users(), b"", || unreachable!());
        assert_eq!(end, Ok(Step::Nothing));
    }

    #[test]
    fn a_response_to_another_challenge_is_refused() {
        let mut other = DigestMd5::Fresh;
        let challenge = other.step(&users(), b"", || "M".into()).unwrap();
        assert!(
            matches!(challenge, Step::Challenge(text) if text.windows(9).any(|w| w == b"nonce=\"M\""))
        );
        let replayed = other.step(&users(), &response(&FIELDS, "secret"), || unreachable!());
        assert_eq!(replayed, Err(Refusal::Other("nonce")));
        // Nor is there a second try.
        let second = response(&with("nonce", Some("M")), "secret");
        assert_eq!(
            other.step(&users(), &second, || unreachable!()),
            Err(Refusal::Over)
        );
    }

    #[test]
    fn wrong_passwords_unknown_users_and_no_password_are_refused_alike() {
        let unknown = with("username", Some("bob"));
        for (fields, password) in [
            (&FIELDS[..], "guess"),
            (&FIELDS[..], ""),
            (&unknown[..], ""),
            (&unknown[..], "secret"),
        ] {
            assert_eq!(answer(&response(fields, password)), Err(Refusal::Wrong));
        }
        assert_eq!(
            DigestMd5::Fresh.step(&users(), b"x", || unreachable!()),
            Err(Refusal::Malformed)
        );
    }

    #[test]
    fn every_directive_but_those_with_a_default_must_be_there_and_right() {
        for (name, value) in [
            ("realm", "elsewhere"),
            ("nonce", "n"),
            ("nc", "00000002"),
            ("qop", "auth-conf"),
            ("digest-uri", "imap/zk-sasl-md5"),
            ("charset", "latin-1"),
        ] {
            assert_eq!(
                answer(&response(&with(name, Some(value)), "secret")),
                Err(Refusal::Other(name))
            );
        }
        for name in ["username", "nonce", "cnonce", "nc", "digest-uri"] {
            assert_eq!(
                answer(&response(&with(name, None), "secret")),
                Err(Refusal::Missing(name))
            );
        }
        for name in ["qop", "charset"] {
            assert!(answer(&response(&with(name, None), "secret")).is_ok());
        }
        let twice = [response(&FIELDS, "secret"), b",nonce=\"N\"".to_vec()].concat();
        assert_eq!(answer(&twice), Err(Refusal::Malformed));
    }

    #[test]
    fn names_and_passwords_may_have_any_letters() {
        for (user, password) in [("jürgen", "pässword"), ("山", "川")] {
            let step = answer(&response(&with("username", Some(user)), password)).unwrap();
            assert!(matches!(step, Step::Proved { user: proved, .. } if proved == user));
        }
    }

    proptest! {
        #[test]
        fn no_token_makes_the_server_panic_or_believe(token in prop::collection::vec(any::<u8>(), 0..200)) {
            let step = answer(&token);
            prop_assert!(step.is_err());
        }

        #[test]
        fn a_changed_byte_of_the_proof_is_noticed(at in 0..32_usize, flip in 1..128_u8) {
            let mut token = response(&FIELDS, "secret");
            let at = token.len() - 32 + at;
            token[at] ^= flip;
            prop_assert!(answer(&token).is_err());
        }

        #[test]
        fn a_directive_said_anyhow_is_read_or_refused(text in r#"([a-z]{1,3} ?= ?("([a-z,=]|\\.)*"|[a-z]*)[ ,]*){0,6}"#) {
            let _ = Response::parse(text.as_bytes());
        }
    }
}
