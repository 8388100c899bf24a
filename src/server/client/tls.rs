//! TLS on the secure client port: keys and certificates from PEM files.
//!
//! Spec: `spec/6-server.md`, "TLS". What it must never do: start with a key or with authorities other
//! than the files hold, or take a file that it cannot read for an empty one.

use super::certificate::ClientVerifier;
use crate::server::config::{ClientAuth, Tls};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoClientAuth, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// What takes TLS connections as the configuration says.
///
/// # Errors
/// If a file cannot be used: which, and how to mend that.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier = match (&tls.trust_store, tls.client_auth) {
        (_, ClientAuth::None) | (None, ClientAuth::Want | ClientAuth::Need) => {
            Arc::new(NoClientAuth)
        }
        (Some(file), asked) => client_verifier(&provider, file, asked)?,
    };
    let key = key_store(&provider, &tls.key_store)?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn client_verifier(
    provider: &Arc<CryptoProvider>,
    file: &Path,
    asked: ClientAuth,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let place = format!("ssl.trustStore.location {}", file.display());
    let authorities = certificates(&read(file, &place, Store::Trust)?, &place)?;
    let mut roots = RootCertStore::empty();
    for authority in &authorities {
        roots.add(authority.clone()).map_err(|error| {
            format!("{place}: a certificate cannot be used: {error}; replace or remove it")
        })?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(provider));
    let builder = match asked {
        ClientAuth::Need => builder,
        ClientAuth::None | ClientAuth::Want => builder.allow_unauthenticated(),
    };
    let strict = builder
        .build()
        .map_err(|error| format!("{place}: {error}; put certificates of authorities into it"))?;
    let algorithms = provider.signature_verification_algorithms;
    Ok(Arc::new(ClientVerifier::new(
        strict,
        authorities,
        algorithms,
    )))
}

/// The private key and the certificates of the server.
fn key_store(provider: &CryptoProvider, file: &Path) -> Result<CertifiedKey, String> {
    let place = format!("ssl.keyStore.location {}", file.display());
    let bytes = read(file, &place, Store::Key)?;
    let certificates = certificates(&bytes, &place)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => format!(
            "{place} holds no private key; append it: cat KEY.pem >> {}",
            file.display()
        ),
        error => format!("{place}: the private key cannot be read: {error}; is the file PEM?"),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| format!("{place}: the private key cannot be used: {error}; make one of RSA or ECDSA (P-256, P-384)"))?;
    // Not rustls's own comparison: it refuses certificates of X.509 version 1.
    let own = key.public_key();
    let certified = super::certificate::public_key(&certificates[0]);
    if let (Some(own), Some(certified)) = (own, certified)
        && *own != *certified
    {
        return Err(format!(
            "{place}: the first certificate is not that of the private key; put the server's own first"
        ));
    }
    Ok(CertifiedKey::new(certificates, key))
}

fn certificates(bytes: &[u8], place: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = certificates.map_err(|error| {
        format!("{place}: a certificate cannot be read: {error}; is the file PEM?")
    })?;
    match certificates.is_empty() {
        true => Err(format!("{place} holds no certificate; append it as PEM")),
        false => Ok(certificates),
    }
}

/// What a file is there for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Store {
    Key,
    Trust,
}

/// The content of a PEM file without a password.
fn read(file: &Path, place: &str, store: Store) -> Result<Vec<u8>, String> {
    let bytes = fs::read(file)
        .map_err(|error| format!("{place} cannot be read: {error}; name a PEM file"))?;
    let shown = file.display();
    let convert = match store {
        Store::Key => format!("openssl pkcs12 -in {shown}.p12 -nodes -out {shown}.pem"),
        Store::Trust => format!("openssl pkcs12 -in {shown}.p12 -nokeys -out {shown}.pem"),
    };
    let import = format!(
        "keytool -importkeystore -srckeystore {shown} -destkeystore {shown}.p12 -deststoretype PKCS12"
    );
    let key = match store {
        Store::Key => "ssl.keyStore.location",
        Store::Trust => "ssl.trustStore.location",
    };
    match &bytes[..] {
        // The marks of Java's own formats, JKS and JCEKS.
        [0xFE, 0xED, 0xFE, 0xED, ..] | [0xCE, 0xCE, 0xCE, 0xCE, ..] => Err(format!(
            "{place} is a Java key store; convert it with `{import}` and then `{convert}`, and set {key}={shown}.pem"
        )),
        // A sequence in DER: PKCS #12 is one, and PEM is none.
        [0x30, 0x80..=0x84, ..] => Err(format!(
            "{place} is a PKCS #12 key store; convert it with `{}`, and set {key}={shown}.pem",
            convert.replacen(".p12", "", 1),
        )),
        _ if holds(&bytes, b"ENCRYPTED") => Err(format!(
            "{place} holds a private key with a password; take the password off with \
             `openssl pkey -in {shown} -out KEY.pem`, and name a file with KEY.pem and the certificates"
        )),
        _ => Ok(bytes),
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a configuration whose key store is this file.
    fn problem(key_store: &Path) -> String {
        let tls = Tls {
            port: 1,
            address: None,
            key_store: key_store.into(),
            trust_store: None,
            client_auth: ClientAuth::None,
        };
        acceptor(&tls).err().unwrap_or_default()
    }

    fn file(name: &str) -> std::path::PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests/tls", name]
            .iter()
            .collect()
    }

    #[test]
    fn a_file_that_is_no_pem_or_has_a_password_is_refused_with_the_command_that_mends_it() {
        assert_eq!(problem(&file("server.pem")), "");
        for (name, command) in [
            ("store.jks", "keytool -importkeystore -srckeystore "),
            ("store.p12", "store.p12 -nodes -out "),
            ("encrypted.pem", "openssl pkey -in "),
            ("ca.pem", "holds no private key"),
            ("none.pem", "cannot be read"),
        ] {
            let said = problem(&file(name));
            assert!(said.contains(command), "{name}: {said}");
        }
    }

    #[test]
    fn a_key_that_is_not_the_certificates_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mixed = dir.path().join("mixed.pem");
        let mut text = fs::read_to_string(file("ca.pem")).unwrap();
        text += &fs::read_to_string(file("server.pem")).unwrap();
        fs::write(&mixed, text).unwrap();
        assert!(problem(&mixed).contains("not that of the private key"));
        fs::write(&mixed, "nothing").unwrap();
        assert!(problem(&mixed).contains("holds no certificate"));
    }

    #[test]
    fn a_trust_store_must_hold_what_it_is_for() {
        for (name, said) in [
            ("store.jks", "-nokeys"),
            ("make.sh", "holds no certificate"),
        ] {
            let tls = Tls {
                port: 1,
                address: None,
                key_store: file("server.pem"),
                trust_store: Some(file(name)),
                client_auth: ClientAuth::Want,
            };
            let problem = acceptor(&tls).err().unwrap();
            assert!(
                problem.contains(said) && problem.contains("trustStore"),
                "{problem}"
            );
        }
    }
}
