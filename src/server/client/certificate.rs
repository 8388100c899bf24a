//! The certificates of clients: whom they name, and whether to believe them.
//!
//! Spec: `spec/6-server.md`, "TLS". What it must never do: panic on what a client shows, or believe a
//! certificate that no authority of the trust store has signed.
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
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate, X509Version};

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
    let parsed = parse(certificate)?;
    let parts: Vec<String> = parsed
        .subject()
        .iter_rdn()
        .map(|part| {
            let values: Vec<String> = part.iter().map(attribute).collect();
            values.join("+")
        })
        .collect();
    Some(parts.into_iter().rev().collect::<Vec<_>>().join(","))
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
