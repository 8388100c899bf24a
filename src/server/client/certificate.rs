//! The certificates of clients: whom they name, and whether to believe them.
//!
//! Spec: `spec/6-server.md`, "TLS". What it must never do: panic on what a client shows, or believe a
//! certificate that no authority of the trust store has signed.
//!
//! Departs from ZooKeeper: D43 in `spec/deviations.toml`.
//!
//! rustls refuses certificates of X.509 version 1, which Java takes, and which the openssl commands of
//! many guides still make. So those are checked here: only as a client's own certificate, never
//! as that of an authority, and only directly under one of the trust store.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{Any, Tag, ToDer};
use x509_parser::prelude::{
    AttributeTypeAndValue, FromDer, X509Certificate, X509Name, X509Version,
};

/// Checks what clients show.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    /// rustls's own.
    strict: Arc<dyn ClientCertVerifier>,
    authorities: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientVerifier {
    pub(super) fn new(
        strict: Arc<dyn ClientCertVerifier>,
        authorities: Vec<CertificateDer<'static>>,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Self {
        Self {
            strict,
            authorities,
            algorithms,
        }
    }

    /// Checks a certificate of version 1.
    fn verify_version_1(&self, shown: &X509Certificate, now: UnixTime) -> Result<(), Error> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now < shown.validity().not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > shown.validity().not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        let mut problem = CertificateError::UnknownIssuer;
        for authority in &self.authorities {
            let Some(authority) = parse(authority) else {
                continue;
            };
            if authority.subject().as_raw() != shown.issuer().as_raw() {
                continue;
            }
            if self.has_signed(&authority, shown) {
                return Ok(());
            }
            problem = CertificateError::BadSignature;
        }
        Err(problem.into())
    }

    fn has_signed(&self, authority: &X509Certificate, shown: &X509Certificate) -> bool {
        let key = SubjectPublicKeyInfoDer::from(authority.public_key().raw);
        let (Ok(key), Some(algorithm)) = (RawPublicKeyEntity::try_from(&key), algorithm(shown))
        else {
            return false;
        };
        let algorithms = self.algorithms.all.iter();
        algorithms
            .filter(|known| known.signature_alg_id().as_ref() == algorithm)
            .any(|known| {
                key.verify_signature(
                    *known,
                    shown.tbs_certificate.as_ref(),
                    &shown.signature_value.data,
                )
                .is_ok()
            })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn offer_client_auth(&self) -> bool {
        self.strict.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.strict.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.strict.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match version_1(shown) {
            Some(parsed) => {
                self.verify_version_1(&parsed, now)?;
                Ok(ClientCertVerified::assertion())
            }
            None => self.strict.verify_client_cert(shown, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(parsed) = version_1(shown) else {
            return self.strict.verify_tls12_signature(message, shown, signed);
        };
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&key)
            .map_err(|_| Error::from(CertificateError::BadEncoding))?;
        let mut known = self.algorithms.mapping.iter();
        let known = known.find(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = known.map_or(&[][..], |(_, algorithms)| algorithms).iter();
        let valid = |algorithm: &&dyn rustls::pki_types::SignatureVerificationAlgorithm| {
            key.verify_signature(*algorithm, message, signed.signature())
                .is_ok()
        };
        match algorithms.any(valid) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match version_1(shown) {
            Some(parsed) => {
                let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
                verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
            }
            None => self.strict.verify_tls13_signature(message, shown, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.strict.supported_verify_schemes()
    }
}

/// The bytes that name the algorithm of a certificate's signature, as webpki knows them.
fn algorithm(shown: &X509Certificate) -> Option<Vec<u8>> {
    let used = &shown.signature_algorithm;
    let mut bytes = used.algorithm.to_der_vec().ok()?;
    if let Some(parameters) = &used.parameters {
        bytes.extend(parameters.to_der_vec().ok()?);
    }
    Some(bytes)
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, parsed) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(parsed)
}

fn version_1<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse(certificate).filter(|parsed| parsed.version() == X509Version::V1)
}

/// The public key of a certificate, as it stands there; `None` if that cannot be read.
pub(super) fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    parse(certificate).map(|parsed| parsed.public_key().raw.to_vec())
}

/// Whom a certificate names, as Java writes it (RFC 2253); `None` if it cannot be read.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    parse(certificate).map(|parsed| name_in_words(parsed.subject()))
}

fn name_in_words(name: &X509Name) -> String {
    let parts = name.iter_rdn().map(|part| {
        let values: Vec<String> = part.iter().map(attribute).collect();
        values.join("+")
    });
    let mut parts: Vec<String> = parts.collect();
    parts.reverse();
    parts.join(",")
}

/// The names that RFC 2253 knows.
const NAMES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
];

fn attribute(attribute: &AttributeTypeAndValue) -> String {
    let oid = attribute.attr_type().to_id_string();
    let name = NAMES.iter().find(|(known, _)| *known == oid);
    match (name, text(attribute.attr_value())) {
        (Some((_, name)), Some(text)) => format!("{name}={}", escape(&text)),
        (name, _) => {
            let value = attribute.attr_value().to_der_vec().unwrap_or_default();
            let value = super::digest_md5::hex(&value);
            format!("{}=#{value}", name.map_or(oid.as_str(), |(_, name)| name))
        }
    }
}

/// The text of a value, if it is one.
fn text(value: &Any) -> Option<String> {
    match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        Tag::T61String => Some(value.data.iter().map(|byte| char::from(*byte)).collect()),
        Tag::BmpString => {
            let (pairs, rest) = value.data.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
            String::from_utf16(&units).ok().filter(|_| rest.is_empty())
        }
        _ => None,
    }
}

fn escape(text: &str) -> String {
    let blank = |c: char| c == ' ' || c == '\r';
    let first = text.len() - text.trim_start_matches(blank).len();
    let end = text.trim_end_matches(blank).len();
    let mut escaped = String::new();
    for (at, c) in text.char_indices() {
        if ",=+<>#;\"\\".contains(c) || at < first || at >= end {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::tls;
    use super::*;
    use crate::server::config::{ClientAuth, Tls};
    use proptest::prelude::*;
    use rustls::crypto::ring;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
    use rustls::{SupportedProtocolVersion, version};
    use std::path::PathBuf;

    fn file(name: &str) -> PathBuf {
        [env!("CARGO_MANIFEST_DIR"), "tests/tls", name]
            .iter()
            .collect()
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(file(name)).unwrap()
    }

    fn tls(client_auth: ClientAuth) -> Tls {
        Tls {
            port: 1,
            address: None,
            key_store: file("server.pem"),
            trust_store: Some(file("ca.pem")),
            client_auth,
        }
    }

    /// What a client that shows this file comes to at a server: its subject, if it shows one.
    fn handshake(
        client_auth: ClientAuth,
        shown: Option<&str>,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Option<String>, Error> {
        let acceptor = tls::acceptor(&tls(client_auth)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate("ca.pem")).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_file(file(name)).unwrap();
                let key = ring::default_provider().key_provider.load_private_key(key);
                let own = rustls::sign::CertifiedKey::new(vec![certificate(name)], key.unwrap());
                builder
                    .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(own)))
            }
        };
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(acceptor.config())).unwrap();
        for _ in 0..10 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                server.read_tls(&mut bytes).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut bytes = &bytes[..];
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let shown = server.peer_certificates();
        Ok(shown.and_then(|shown| subject(&shown[0])))
    }

    #[test]
    fn a_client_is_whom_its_certificate_names_if_an_authority_has_signed_it() {
        for version in [&version::TLS12, &version::TLS13] {
            for asked in [ClientAuth::Need, ClientAuth::Want] {
                let shows = |name| handshake(asked, Some(name), version);
                let ann = "CN=ann,OU=a\\+b,O=Acme\\, Inc.,C=DE";
                assert_eq!(shows("client.pem"), Ok(Some(ann.into())));
                assert_eq!(shows("client-v1.pem"), Ok(Some("CN=old".into())));
                for stranger in ["stranger.pem", "stranger-v1.pem"] {
                    let error = shows(stranger).unwrap_err();
                    assert!(matches!(error, Error::InvalidCertificate(_)), "{error:?}");
                }
            }
            let nothing = |asked| handshake(asked, None, version);
            assert!(nothing(ClientAuth::Need).is_err());
            assert_eq!(nothing(ClientAuth::Want), Ok(None));
            let shows = handshake(ClientAuth::None, Some("client.pem"), version);
            assert_eq!(shows, Ok(None), "who is not asked is nobody");
        }
    }

    #[test]
    fn a_certificate_of_version_1_that_was_changed_or_is_too_old_or_new_is_refused() {
        let provider = ring::default_provider();
        let strict = rustls::server::WebPkiClientVerifier::no_client_auth();
        let authorities = vec![certificate("ca.pem")];
        let algorithms = provider.signature_verification_algorithms;
        let verifier = ClientVerifier::new(strict, authorities, algorithms);
        let shown = certificate("client-v1.pem");
        let judge = |shown: &CertificateDer, seconds| {
            let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            verifier.verify_client_cert(shown, &[], now).map(|_| ())
        };
        let now = 1_800_000_000;
        assert_eq!(judge(&shown, now), Ok(()));
        assert_eq!(judge(&shown, 0), Err(CertificateError::NotValidYet.into()));
        let late = judge(&shown, 10_000_000_000);
        assert_eq!(late, Err(CertificateError::Expired.into()));
        // The subject's name, and the signature.
        let old = shown.windows(3).position(|bytes| bytes == b"old").unwrap();
        for at in [old, shown.len() - 1] {
            let mut changed = shown.to_vec();
            changed[at] ^= 1;
            let error = judge(&changed.into(), now).unwrap_err();
            assert_eq!(error, CertificateError::BadSignature.into());
        }
    }

    #[test]
    fn a_subject_is_written_as_java_writes_it() {
        let cases = [
            (
                "CN=a\\=b\\#c,O=x\\, y",
                "301f310d300b060355040a1304782c2079310e300c06035504030c05613d622363",
            ),
            ("CN=\\#lead", "3010310e300c06035504030c05236c656164"),
            ("CN=\\ sp\\ ", "300f310d300b0603550403130420737020"),
            (
                "1.2.840.113549.1.9.1=#16056140622e63,CN=x",
                "3022310a300806035504031301783114301206092a864886f70d01090116056140622e63",
            ),
            (
                "CN=x+OU=y,C=DE",
                "3023310b30090603550406130244453114300806035504031301783008060355040b130179",
            ),
            (
                "CN=a\\\\b\\\"q\\<\\>\\;",
                "30133111300f06035504030c08615c6222713c3e3b",
            ),
            ("CN=ä", "300d310b300906035504030c02c3a4"),
            (
                "STREET=s,L=l,ST=t,DC=d,UID=u,O=o,OU=p,CN=c",
                "306e310a30080603550403130163310a3008060355040b130170310a3008060355040a13016f3111300f060a0992268993f22c6401011301753111300f060a0992268993f22c640119160164310a30080603550408130174310a3008060355040713016c310a30080603550409130173",
            ),
            (
                "2.5.4.5=#13023132,CN=x",
                "3019310a30080603550403130178310b3009060355040513023132",
            ),
            ("CN=a  b", "300f310d300b0603550403130461202062"),
            ("CN=", "300b3109300706035504031300"),
        ];
        let bytes = |hex: &str| -> Vec<u8> {
            let digits = hex.as_bytes().chunks(2);
            digits
                .map(|d| u8::from_str_radix(std::str::from_utf8(d).unwrap(), 16).unwrap())
                .collect()
        };
        for (java, der) in cases {
            let der = bytes(der);
            let (_, name) = x509_parser::x509::X509Name::from_der(&der).unwrap();
            assert_eq!(name_in_words(&name), java);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), keep in any::<prop::sample::Index>()) {
            let mut bytes = certificate("client-v1.pem").to_vec();
            let index = at.index(bytes.len());
            bytes[index] = byte;
            let _ = subject(&bytes.clone().into());
            bytes.truncate(keep.index(bytes.len()));
            let _ = subject(&bytes.clone().into());
            let _ = public_key(&bytes.into());
        }
    }
}
