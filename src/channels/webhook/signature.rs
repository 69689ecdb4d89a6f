//! Signatures as Standard Webhooks describes them: HMAC-SHA256 over id, timestamp and body.
//!
//! Source: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// What a secret in base64 starts with.
const PREFIX: &str = "whsec_";

/// The specification's minimum is 24 bytes; a text of 16 characters cannot be guessed either.
const SHORTEST: usize = 16;

/// The key of a secret: `whsec_` and base64, or any other text as it is.
///
/// # Errors
/// Why the secret cannot be used.
pub(super) fn signing_key(secret: &SecretString) -> Result<hmac::Key, String> {
    let text = secret.expose_secret().trim();
    let bytes = match text.strip_prefix(PREFIX) {
        Some(encoded) => BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| format!("is not base64 after {PREFIX}; copy it again"))?,
        None => text.as_bytes().to_vec(),
    };
    if bytes.len() < SHORTEST {
        return Err(format!("must have {SHORTEST} bytes or more; `openssl rand -hex 32` makes one"));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// The value of `webhook-signature`.
pub(super) fn sign(key: &hmac::Key, id: &str, timestamp: &str, body: &str) -> String {
    let tag = hmac::sign(key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values are those of the specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        let secret = SecretString::from(format!("{PREFIX}MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
        let body = r#"{"test": 2432232314}"#;
        let signed = sign(&signing_key(&secret).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn short_and_damaged_secrets_are_refused() {
        for (secret, valid) in
            [("short", false), ("whsec_***", false), ("whsec_c2hvcnQ=", false), ("sixteen-letters-", true)]
        {
            assert_eq!(signing_key(&SecretString::from(secret)).is_ok(), valid, "{secret}");
        }
    }
}
