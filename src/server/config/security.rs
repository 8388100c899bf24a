//! The keys that say who clients may be, how they prove it, and how their connections are encrypted.
//!
//! Spec: `spec/6-server.md`, "Authentication" and "TLS". What it must never do: start a server that
//! protects less than its configuration asks for.

use super::jaas::{self, Users};
use super::{ConfigError, Parser};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

/// How clients are told apart, and what they must have proved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// The digest id `user:hash` whose owner may do everything.
    pub super_digest: Option<String>,
    /// The subject of the certificate whose owner may do everything.
    pub super_subject: Option<String>,
    /// The user of SASL who may do everything.
    pub super_user: Option<String>,
    /// Who may authenticate by SASL; empty if nobody can.
    pub sasl_users: Users,
    /// Whether access control lists may name SASL users.
    pub sasl: bool,
    /// Whether a client may stay whom SASL has refused.
    pub allow_sasl_failed: bool,
    /// A client must have proved an identity of one of these schemes; all are served if it is empty.
    pub enforced: BTreeSet<String>,
    /// The port for TLS, if there is one.
    pub tls: Option<Tls>,
}

/// The port for clients that speak TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub port: u16,
    /// The address to which it is bound; all if `None`.
    pub address: Option<String>,
    /// The private key and the chain of certificates, as PEM.
    pub key_store: PathBuf,
    /// The certificates of the authorities that clients are trusted by, as PEM.
    pub trust_store: Option<PathBuf>,
    pub client_auth: ClientAuth,
}

/// Whether clients must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They are asked, and what they show must be trusted.
    Want,
    Need,
}

/// A value as it stands in the configuration.
#[derive(Clone, Debug)]
pub(super) struct Value {
    file: PathBuf,
    line: Option<usize>,
    text: String,
}

/// The values of the keys of this file.
pub(super) type Values = BTreeMap<String, Value>;

const SUPER_DIGEST: &str = "DigestAuthenticationProvider.superDigest";
const DIGEST_ALGORITHM: &str = "DigestAuthenticationProvider.digestAlg";
const DIGEST_ENABLED: &str = "DigestAuthenticationProvider.enabled";
const SUPER_SUBJECT: &str = "X509AuthenticationProvider.superUser";
const SUPER_USER: &str = "superUser";
const SUPER_PASSWORD: &str = "SASLAuthenticationProvider.superPassword";
const JAAS_FILE: &str = "java.security.auth.login.config";
const JAAS_SECTION: &str = "sasl.serverconfig";
const ALLOW_SASL_FAILED: &str = "allowSaslFailedClients";
const REQUIRE_SASL: &str = "sessionRequireClientSASLAuth";
const ENFORCE: &str = "enforce.auth.enabled";
const ENFORCE_SCHEMES: &str = "enforce.auth.schemes";
const SECURE_PORT: &str = "secureClientPort";
const SECURE_ADDRESS: &str = "secureClientPortAddress";
const KEY_STORE: &str = "ssl.keyStore.location";
const TRUST_STORE: &str = "ssl.trustStore.location";
const CLIENT_AUTH: &str = "ssl.clientAuth";
/// What a server without a leader does for clients.
pub(super) const READ_ONLY_MODE: &str = "readonlymode.enabled";
/// Revocation of certificates, by list and by asking.
const REVOCATION: [&str; 2] = ["ssl.crl", "ssl.ocsp"];

const KEYS: [&str; 20] = [
    READ_ONLY_MODE,
    SUPER_DIGEST,
    DIGEST_ALGORITHM,
    DIGEST_ENABLED,
    SUPER_SUBJECT,
    SUPER_USER,
    SUPER_PASSWORD,
    JAAS_FILE,
    JAAS_SECTION,
    ALLOW_SASL_FAILED,
    REQUIRE_SASL,
    ENFORCE,
    ENFORCE_SCHEMES,
    SECURE_PORT,
    SECURE_ADDRESS,
    KEY_STORE,
    TRUST_STORE,
    CLIENT_AUTH,
    REVOCATION[0],
    REVOCATION[1],
];

/// Keys that a PEM file has no use for: nothing is lost without them.
const NOT_NEEDED: [&str; 7] = [
    "serverCnxnFactory",
    "ssl.keyStore.type",
    "ssl.keyStore.password",
    "ssl.keyStore.passwordPath",
    "ssl.trustStore.type",
    "ssl.trustStore.password",
    "ssl.trustStore.passwordPath",
];

const PROVIDER: &str = "authProvider.";
const SASL_PROVIDER: &str = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
/// Classes that are served without being asked for.
const BUILT_IN: [&str; 3] = [
    "org.apache.zookeeper.server.auth.DigestAuthenticationProvider",
    "org.apache.zookeeper.server.auth.IPAuthenticationProvider",
    "org.apache.zookeeper.server.auth.X509AuthenticationProvider",
];

impl Parser {
    /// Takes a key of this file; says whether it is one.
    pub(super) fn on_security(&mut self, line: Option<usize>, key: &str, text: &str) -> bool {
        let is_ours = KEYS.contains(&key) || key.starts_with(PROVIDER);
        if is_ours {
            let value = Value {
                file: self.file.clone(),
                line,
                text: text.trim().to_owned(),
            };
            self.security.insert(key.to_owned(), value);
        }
        is_ours || NOT_NEEDED.contains(&key)
    }

    /// Makes of the keys what they mean together.
    pub(super) fn finish_security(&mut self) -> Result<Security, ConfigError> {
        let mut security = Security {
            super_digest: self.text(SUPER_DIGEST),
            super_subject: self.text(SUPER_SUBJECT),
            super_user: self.text(SUPER_USER),
            sasl_users: self.sasl_users()?,
            sasl: false,
            allow_sasl_failed: self.flag(ALLOW_SASL_FAILED)?,
            enforced: BTreeSet::new(),
            tls: self.tls()?,
        };
        if let Some(value) = self.security.get(DIGEST_ALGORITHM)
            && !matches!(value.text.to_ascii_uppercase().as_str(), "SHA1" | "SHA-1")
        {
            let problem = format!("`{}` is not served", value.text);
            return Err(self.fault(DIGEST_ALGORITHM, problem, "write SHA1, or remove the line"));
        }
        if self.text(DIGEST_ENABLED).is_some() && !self.flag(DIGEST_ENABLED)? {
            let problem = "the scheme digest cannot be switched off".to_owned();
            return Err(self.fault(DIGEST_ENABLED, problem, "remove the line"));
        }
        security.sasl = self.sasl_provider()? || !security.sasl_users.is_empty();
        security.enforced = self.enforced(&security)?;
        Ok(security)
    }

    /// Whether the provider of SASL is named. A provider that is not known here would have to check
    /// something that nobody checks.
    fn sasl_provider(&self) -> Result<bool, ConfigError> {
        let mut named = false;
        let providers = self.security.iter();
        for (key, value) in providers.filter(|(key, _)| key.starts_with(PROVIDER)) {
            named |= value.text == SASL_PROVIDER;
            if value.text != SASL_PROVIDER && !BUILT_IN.contains(&value.text.as_str()) {
                let problem = format!("there is no provider `{}` here", value.text);
                let remedy = "remove the line; world, digest, ip, x509 and sasl are served";
                return Err(self.fault(key, problem, remedy));
            }
        }
        Ok(named)
    }

    fn enforced(&self, security: &Security) -> Result<BTreeSet<String>, ConfigError> {
        let (key, schemes) = if self.flag(REQUIRE_SASL)? {
            (REQUIRE_SASL, "sasl".to_owned())
        } else if self.flag(ENFORCE)? {
            let schemes = self.text(ENFORCE_SCHEMES).ok_or_else(|| {
                let problem = "it is true, and no scheme is named".to_owned();
                let remedy = format!("add a line {ENFORCE_SCHEMES}=sasl,x509 or the like");
                self.fault(ENFORCE, problem, &remedy)
            })?;
            (ENFORCE_SCHEMES, schemes)
        } else {
            return Ok(BTreeSet::new());
        };
        let schemes: BTreeSet<String> = schemes.split(',').map(|s| s.trim().to_owned()).collect();
        for scheme in &schemes {
            let remedy = match scheme.as_str() {
                "digest" | "ip" => continue,
                "sasl" if !security.sasl_users.is_empty() => continue,
                "sasl" => {
                    "name a file with users in java.security.auth.login.config, or nobody could connect"
                }
                "x509" if security.asks_certificates() => continue,
                "x509" => "set secureClientPort, and ssl.clientAuth to want or need",
                _ => "name some of digest, ip, sasl and x509",
            };
            let problem = format!("nobody can prove an identity of the scheme `{scheme}`");
            return Err(self.fault(key, problem, remedy));
        }
        Ok(schemes)
    }

    fn sasl_users(&self) -> Result<Users, ConfigError> {
        let Some(file) = self.text(JAAS_FILE) else {
            return Ok(Users::new());
        };
        let text = fs::read_to_string(&file).map_err(|error| {
            let problem = format!("{file} cannot be read: {error}");
            self.fault(JAAS_FILE, problem, "name a file that can be read")
        })?;
        let section = self.text(JAAS_SECTION).unwrap_or("Server".into());
        let users = jaas::users(&text, &section).map_err(|(line, problem)| ConfigError {
            file: file.clone().into(),
            line: Some(line),
            problem,
            remedy: format!(
                "write {section} {{ org.apache.zookeeper.server.auth.DigestLoginModule required \
                 user_NAME=\"password\"; }};"
            ),
        })?;
        // As in ZooKeeper: a file without the section is a server without SASL.
        let Some(mut users) = users else {
            return Ok(Users::new());
        };
        if users.is_empty() {
            let problem = format!("section {section} of {file} has no user_NAME=\"password\"");
            let remedy = "use DigestLoginModule: Kerberos is not served";
            return Err(self.fault(JAAS_FILE, problem, remedy));
        }
        if let Some(password) = self.text(SUPER_PASSWORD)
            && let Some(user) = users.get_mut("super")
        {
            user.0 = password;
        }
        Ok(users)
    }

    fn tls(&self) -> Result<Option<Tls>, ConfigError> {
        let Some(value) = self.security.get(SECURE_PORT) else {
            return Ok(None);
        };
        let port = value.text.parse::<u16>().map_err(|_| {
            let problem = format!("`{}` is not a port", value.text);
            self.fault(SECURE_PORT, problem, "write a number from 1 to 65535")
        })?;
        if port == 0 {
            return Ok(None); // As in ZooKeeper: no such port.
        }
        let key_store = self.text(KEY_STORE).ok_or_else(|| {
            let problem = "there is no key for it".to_owned();
            let remedy = format!("name a PEM file with key and certificates in {KEY_STORE}");
            self.fault(SECURE_PORT, problem, &remedy)
        })?;
        let trust_store = self.text(TRUST_STORE).map(PathBuf::from);
        let asked = self.text(CLIENT_AUTH).map(|text| text.to_ascii_lowercase());
        let client_auth = match asked.as_deref() {
            Some("none") => ClientAuth::None,
            Some("want") => ClientAuth::Want,
            Some("need") | None => ClientAuth::Need,
            Some(other) => {
                let problem = format!("`{other}` cannot be used");
                return Err(self.fault(CLIENT_AUTH, problem, "write none, want or need"));
            }
        };
        if trust_store.is_none() && client_auth != ClientAuth::None {
            let problem = "there is nothing to check the certificates of clients by".to_owned();
            let remedy =
                format!("name a PEM file in {TRUST_STORE}, or do not ask: {CLIENT_AUTH}=none");
            return Err(self.fault(SECURE_PORT, problem, &remedy));
        }
        for key in REVOCATION {
            if self.flag(key)? {
                let problem = "revocation is not checked here".to_owned();
                return Err(self.fault(
                    key,
                    problem,
                    "remove the line, or use short-lived certificates",
                ));
            }
        }
        let address = self.text(SECURE_ADDRESS);
        Ok(Some(Tls {
            port,
            address: address.map(|host| host.trim_matches(['[', ']']).to_owned()),
            key_store: key_store.into(),
            trust_store,
            client_auth,
        }))
    }

    /// A value that is there and not empty.
    fn text(&self, key: &str) -> Option<String> {
        let value = self.security.get(key)?;
        (!value.text.is_empty()).then(|| value.text.clone())
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self
            .text(key)
            .map(|text| text.to_ascii_lowercase())
            .as_deref()
        {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => {
                let problem = format!("`{other}` cannot be used");
                Err(self.fault(key, problem, "write true or false"))
            }
        }
    }

    /// An error at the place of a key.
    fn fault(&self, key: &str, problem: String, remedy: &str) -> ConfigError {
        let place = self.security.get(key);
        ConfigError {
            file: place.map_or_else(|| self.file.clone(), |value| value.file.clone()),
            line: place.and_then(|value| value.line),
            problem: format!("{key}: {problem}"),
            remedy: remedy.to_owned(),
        }
    }
}

impl Security {
    /// Whether clients may show certificates.
    pub fn asks_certificates(&self) -> bool {
        let tls = self.tls.as_ref();
        tls.is_some_and(|tls| tls.client_auth != ClientAuth::None)
    }
}
