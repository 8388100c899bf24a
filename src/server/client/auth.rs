//! Who a client is: what it says of itself is checked here, and what it has proved goes to the actor.
//!
//! Spec: `spec/6-server.md`, "Authentication". What it must never do: hand on a secret, or a request of a
//! client that has not proved what the configuration asks for.

use super::digest_md5::{DigestMd5, Step, hex};
use crate::proto::{Request, Response};
use crate::server::config::Security;
use crate::znode::{AuthId, Data, ErrorCode};
use std::net::SocketAddr;

/// What one connection has proved, and how far it is with SASL.
pub(super) struct Gate<'a> {
    security: &'a Security,
    from: SocketAddr,
    ids: Vec<AuthId>,
    sasl: DigestMd5,
}

/// What is to be done with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// It is for the actor.
    Request(Request),
    /// It was about who the client is, or the client has not said that as it must. After an error the
    /// connection ends.
    Proof {
        proved: Vec<AuthId>,
        result: Result<Response, ErrorCode>,
    },
}

impl<'a> Gate<'a> {
    /// The gate of a connection whose certificate has proved `ids`.
    pub(super) fn new(security: &'a Security, from: SocketAddr, ids: &[AuthId]) -> Self {
        Self {
            security,
            from,
            ids: [&[AuthId::ip(from.ip())], ids].concat(),
            sasl: DigestMd5::Fresh,
        }
    }

    /// Takes the next request.
    pub(super) fn admit(&mut self, request: Request) -> Admitted {
        let (proved, result) = match request {
            Request::Auth { scheme, auth } => self.on_auth(&scheme, &auth),
            Request::Sasl { token } => self.on_sasl(&token),
            request if self.is_enough() => return Admitted::Request(request),
            _ => {
                let schemes = self.security.enforced.iter().map(String::as_str);
                let schemes = schemes.collect::<Vec<_>>().join(", ");
                tracing::warn!(
                    "{}: closed, it has proved no identity of the schemes {schemes} (enforce.auth.schemes)",
                    self.from
                );
                (Vec::new(), Err(ErrorCode::SessionClosedRequireSaslAuth))
            }
        };
        self.ids.extend_from_slice(&proved);
        Admitted::Proof { proved, result }
    }

    fn is_enough(&self) -> bool {
        let enforced = &self.security.enforced;
        enforced.is_empty() || self.ids.iter().any(|id| enforced.contains(&id.scheme))
    }

    fn on_auth(&self, scheme: &str, auth: &[u8]) -> (Vec<AuthId>, Result<Response, ErrorCode>) {
        let proved = match scheme {
            "digest" => {
                let id = AuthId::digest(auth);
                let is_super = self.security.super_digest.as_ref() == Some(&id.id);
                let superuser = is_super.then(AuthId::superuser);
                superuser.into_iter().chain([id]).collect()
            }
            // What the client says of these does not count: they are known since it connected.
            "ip" => Vec::new(),
            "x509" if self.ids.iter().any(|id| id.scheme == "x509") => Vec::new(),
            _ => {
                tracing::warn!("{}: closed, it cannot use the scheme {scheme:?}", self.from);
                return (Vec::new(), Err(ErrorCode::AuthFailed));
            }
        };
        (proved, Ok(Response::Empty))
    }

    fn on_sasl(&mut self, token: &[u8]) -> (Vec<AuthId>, Result<Response, ErrorCode>) {
        let answer = |token: Data| Ok(Response::Sasl(token));
        if self.security.sasl_users.is_empty() {
            // So ZooKeeper answers without a configuration for SASL; clients see that it has failed.
            return (Vec::new(), answer(Data::NULL));
        }
        match self.sasl.step(&self.security.sasl_users, token, nonce) {
            Ok(Step::Challenge(token)) => (Vec::new(), answer(token.into())),
            Ok(Step::Nothing) => (Vec::new(), answer(Data::NULL)),
            Ok(Step::Proved { user, token }) => {
                tracing::debug!("{}: is the SASL user {user:?}", self.from);
                let is_super = self.security.super_user.as_ref() == Some(&user);
                let superuser = is_super.then(AuthId::superuser);
                let ids = [AuthId::new("sasl", user)].into_iter().chain(superuser);
                (ids.collect(), answer(token.into()))
            }
            Err(refusal) => {
                let required = self.security.enforced.contains("sasl");
                let stays = self.security.allow_sasl_failed && !required;
                let end = if stays { "stays" } else { "closed" };
                tracing::warn!("{}: {end}, SASL has failed: {refusal}", self.from);
                let result = match (stays, required) {
                    (true, _) => answer(Data::NULL),
                    (false, true) => Err(ErrorCode::SessionClosedRequireSaslAuth),
                    (false, false) => Err(ErrorCode::AuthFailed),
                };
                (Vec::new(), result)
            }
        }
    }
}

/// What no client has seen: 128 random bits.
fn nonce() -> String {
    let mut bytes = [0; 16];
    // The system has none only before it has started properly; then the server has not started either.
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    hex(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::jaas::Password;
    use bytes::Bytes;

    fn gate(security: &Security) -> Gate<'_> {
        Gate::new(security, ([10, 0, 0, 1], 7).into(), &[])
    }

    fn auth(scheme: &str, auth: &'static str) -> Request {
        Request::Auth {
            scheme: scheme.into(),
            auth: auth.into(),
        }
    }

    fn sasl(token: &'static [u8]) -> Request {
        let token = Bytes::from_static(token);
        Request::Sasl { token }
    }

    fn proof(proved: &[AuthId]) -> Admitted {
        let (proved, result) = (proved.to_vec(), Ok(Response::Empty));
        Admitted::Proof { proved, result }
    }

    fn failure(error: ErrorCode) -> Admitted {
        Admitted::Proof {
            proved: Vec::new(),
            result: Err(error),
        }
    }

    fn with_sasl() -> Security {
        Security {
            sasl_users: [("ann".into(), Password("secret".into()))].into(),
            ..Security::default()
        }
    }

    #[test]
    fn the_password_of_the_super_digest_makes_the_superuser_and_no_other_does() {
        let super_digest = Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".to_owned());
        let security = Security {
            super_digest,
            ..Security::default()
        };
        let test = AuthId::digest(b"super:test");
        assert_eq!(
            gate(&security).admit(auth("digest", "super:test")),
            proof(&[AuthId::superuser(), test.clone()])
        );
        let other = AuthId::digest(b"super:guess");
        assert_eq!(
            gate(&security).admit(auth("digest", "super:guess")),
            proof(&[other])
        );
        let none = Security::default();
        assert_eq!(
            gate(&none).admit(auth("digest", "super:test")),
            proof(&[test])
        );
    }

    #[test]
    fn a_scheme_that_cannot_be_said_fails() {
        let security = Security::default();
        assert_eq!(gate(&security).admit(auth("ip", "1.2.3.4")), proof(&[]));
        for scheme in ["world", "super", "sasl", "x509", "kerberos", ""] {
            assert_eq!(
                gate(&security).admit(auth(scheme, "x")),
                failure(ErrorCode::AuthFailed)
            );
        }
        let subject = [AuthId::new("x509", "CN=ann")];
        let mut gate = Gate::new(&security, ([10, 0, 0, 1], 7).into(), &subject);
        assert_eq!(gate.admit(auth("x509", "")), proof(&[]));
    }

    #[test]
    fn nothing_is_served_before_an_identity_of_an_enforced_scheme_is_proved() {
        let security = Security {
            enforced: ["digest".to_owned(), "x509".to_owned()].into(),
            ..Security::default()
        };
        let refused = failure(ErrorCode::SessionClosedRequireSaslAuth);
        let served = || Admitted::Request(Request::Ping);
        assert_eq!(gate(&security).admit(Request::Ping), refused);
        let mut late = gate(&security);
        assert_eq!(late.admit(auth("ip", "")), proof(&[]));
        assert_eq!(late.admit(Request::CloseSession), refused);
        late.admit(auth("digest", "a:b"));
        assert_eq!(late.admit(Request::Ping), served());
        let subject = [AuthId::new("x509", "CN=ann")];
        let mut gate = Gate::new(&security, ([10, 0, 0, 1], 7).into(), &subject);
        assert_eq!(gate.admit(Request::Ping), served());
    }

    #[test]
    fn a_client_whom_sasl_refuses_is_told_why_or_stays_as_nobody() {
        let refused_with = |security: &Security| {
            let mut gate = gate(security);
            assert!(matches!(
                gate.admit(sasl(b"")),
                Admitted::Proof { result: Ok(_), .. }
            ));
            let answer = gate.admit(sasl(b"username=\"ann\""));
            assert_eq!(gate.ids.len(), 1, "only its address is known");
            answer
        };
        let mut security = with_sasl();
        assert_eq!(refused_with(&security), failure(ErrorCode::AuthFailed));
        security.allow_sasl_failed = true;
        let stays = Admitted::Proof {
            proved: Vec::new(),
            result: Ok(Response::Sasl(Data::NULL)),
        };
        assert_eq!(refused_with(&security), stays);
        assert_eq!(gate(&Security::default()).admit(sasl(b"")), stays);
        security.enforced = ["sasl".to_owned()].into();
        let closed = failure(ErrorCode::SessionClosedRequireSaslAuth);
        assert_eq!(refused_with(&security), closed);
    }

    #[test]
    fn no_two_challenges_are_alike() {
        assert_ne!(nonce(), nonce());
    }
}
