//! `evs token`: makes and reads access tokens (JWT).

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Subcommand, ValueEnum};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use super::filter_text;
use crate::app::App;
use crate::exit::{ExitStatus, Failure};
use crate::output::{BOLD, DIM, GREEN, RED, YELLOW, time_ms};
use crate::quantity::{self, seconds};

/// A shorter HMAC secret can be guessed offline (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and write it to stdout
    Mint(MintArgs),
    /// Show what a token says, and check it if a key is given
    #[command(after_help = "\
Examples:
  evs token inspect < token
  evs token inspect --secret-file secret < token")]
    Inspect(InspectArgs),
}

#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  evs token mint --secret-file secret --sub user_1 --scope subscribe --ttl 1h
  evs token mint --key-file ed25519.pem --algorithm EdDSA --sub ops --scope operate --scope produce > token
  openssl rand -base64 48 > secret                       a good secret")]
pub(crate) struct MintArgs {
    /// Whom the token is for
    #[arg(long, value_name = "SUBJECT")]
    sub: String,
    /// What it allows; may be repeated
    #[arg(long, value_name = "SCOPE", required = true)]
    scope: Vec<String>,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", value_parser = quantity::duration, default_value = "1h")]
    ttl: Duration,
    #[arg(long, value_name = "ISSUER", default_value = "evs")]
    iss: String,
    #[arg(long, value_name = "AUDIENCE", default_value = "evs")]
    aud: String,
    /// The key's name, where the server has several
    #[arg(long, value_name = "ID")]
    kid: Option<String>,
    /// A further claim; JSON, or text
    #[arg(long, value_name = "NAME=VALUE")]
    claim: Vec<String>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct InspectArgs {
    /// The token; standard input, or that of the settings, if absent
    #[arg(value_name = "TOKEN")]
    text: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(clap::Args, Debug)]
pub(crate) struct KeyArgs {
    /// The shared secret, at least 32 bytes (HS256)
    #[arg(long, value_name = "FILE", conflicts_with = "key_file")]
    secret_file: Option<PathBuf>,
    /// The key as PEM: the private one to mint, the public one to check
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How it is signed [default: HS256 with a secret, EdDSA with a key]
    #[arg(long, value_name = "NAME", ignore_case = true)]
    algorithm: Option<Alg>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub(crate) enum Alg {
    HS256,
    HS384,
    HS512,
    EdDSA,
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
}

impl Alg {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::HS256 => Algorithm::HS256,
            Self::HS384 => Algorithm::HS384,
            Self::HS512 => Algorithm::HS512,
            Self::EdDSA => Algorithm::EdDSA,
            Self::ES256 => Algorithm::ES256,
            Self::ES384 => Algorithm::ES384,
            Self::RS256 => Algorithm::RS256,
            Self::RS384 => Algorithm::RS384,
            Self::RS512 => Algorithm::RS512,
        }
    }

    fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }
}

/// What was given to sign or check with.
struct Key {
    alg: Alg,
    bytes: Vec<u8>,
}

impl KeyArgs {
    fn read(&self) -> Result<Option<Key>, Failure> {
        let (path, default) = match (&self.secret_file, &self.key_file) {
            (Some(path), _) => (path, Alg::HS256),
            (None, Some(path)) => (path, Alg::EdDSA),
            (None, None) => return Ok(None),
        };
        let alg = self.algorithm.unwrap_or(default);
        if alg.is_symmetric() != self.secret_file.is_some() {
            let needs = if alg.is_symmetric() { "--secret-file" } else { "--key-file" };
            return Err(Failure::usage(format!("{alg:?} needs {needs}")));
        }
        let bytes = read(path)?;
        let bytes = if alg.is_symmetric() { bytes.trim_ascii().to_vec() } else { bytes };
        if alg.is_symmetric() && bytes.len() < SECRET_BYTES_MIN {
            return Err(Failure::usage(format!(
                "the secret in {} has {} bytes; less than {SECRET_BYTES_MIN} can be guessed",
                path.display(),
                bytes.len()
            ))
            .hint("openssl rand -base64 48 makes a good one"));
        }
        Ok(Some(Key { alg, bytes }))
    }
}

impl Key {
    fn encoding(&self) -> Result<EncodingKey, Failure> {
        let key = match self.alg {
            Alg::HS256 | Alg::HS384 | Alg::HS512 => Ok(EncodingKey::from_secret(&self.bytes)),
            Alg::EdDSA => EncodingKey::from_ed_pem(&self.bytes),
            Alg::ES256 | Alg::ES384 => EncodingKey::from_ec_pem(&self.bytes),
            Alg::RS256 | Alg::RS384 | Alg::RS512 => EncodingKey::from_rsa_pem(&self.bytes),
        };
        key.map_err(|error| self.unfit("private", &error))
    }

    fn decoding(&self) -> Result<DecodingKey, Failure> {
        let key = match self.alg {
            Alg::HS256 | Alg::HS384 | Alg::HS512 => Ok(DecodingKey::from_secret(&self.bytes)),
            Alg::EdDSA => DecodingKey::from_ed_pem(&self.bytes),
            Alg::ES256 | Alg::ES384 => DecodingKey::from_ec_pem(&self.bytes),
            Alg::RS256 | Alg::RS384 | Alg::RS512 => DecodingKey::from_rsa_pem(&self.bytes),
        };
        key.map_err(|error| self.unfit("public", &error))
    }

    fn unfit(&self, which: &str, error: &jsonwebtoken::errors::Error) -> Failure {
        Failure::usage(format!("the file is no {which} key for {:?} as PEM: {error}", self.alg)).hint(
            "openssl genpkey -algorithm ed25519 -out private.pem; openssl pkey -in private.pem -pubout -out public.pem",
        )
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

pub(crate) fn run(app: &App, command: TokenCommand) -> Result<ExitStatus, Failure> {
    match command {
        TokenCommand::Mint(args) => {
            let token = mint(&args, now_s())?;
            app.out.line(token)?;
            app.out
                .say(format!("{DIM}valid for {}; whoever has it may do this{DIM:#}", seconds(args.ttl.as_secs_f64())));
            Ok(ExitStatus::Success)
        }
        TokenCommand::Inspect(args) => inspect(app, &args),
    }
}

fn mint(args: &MintArgs, now_s: u64) -> Result<String, Failure> {
    let key = args.key.read()?.ok_or_else(|| {
        Failure::usage("sign it with what?")
            .hint("give --secret-file for HS256, or --key-file for EdDSA, ES256 or RS256")
    })?;
    let mut header = Header::new(key.alg.algorithm());
    header.kid.clone_from(&args.kid);
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(args.iss)),
        ("aud", json!(args.aud)),
        ("sub", json!(args.sub)),
        ("scope", json!(args.scope.join(" "))),
        ("iat", json!(now_s)),
        ("exp", json!(now_s + args.ttl.as_secs())),
    ] {
        claims.insert(name.to_owned(), value);
    }
    for claim in &args.claim {
        let (name, value) =
            claim.split_once('=').ok_or_else(|| Failure::usage(format!("--claim {claim:?} is not NAME=VALUE")))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        claims.insert(name.to_owned(), value);
    }
    jsonwebtoken::encode(&header, &claims, &key.encoding()?)
        .map_err(|error| Failure::new(ExitStatus::Failure, format!("cannot sign: {error}")))
}

fn inspect(app: &App, args: &InspectArgs) -> Result<ExitStatus, Failure> {
    let config = app.settings.client_config()?;
    let text = match (&args.text, &config.token) {
        (Some(text), _) if text != "-" => text.clone(),
        (None, Some(token)) => token.read()?,
        _ => filter_text(Path::new("-"))?,
    };
    let text = text.trim();
    let (header, claims) = parts(text)?;
    let now_s = now_s();
    let expires_s = claims.get("exp").and_then(Value::as_u64);
    let expired = expires_s.is_some_and(|at| at <= now_s);
    let verified = match args.key.read()? {
        None => None,
        Some(key) => {
            let mut validation = Validation::new(key.alg.algorithm());
            validation.validate_aud = false;
            validation.validate_exp = false;
            validation.required_spec_claims.clear();
            Some(jsonwebtoken::decode::<Value>(text, &key.decoding()?, &validation).map_err(|error| error.to_string()))
        }
    };

    let bad = expired || matches!(verified, Some(Err(_)));
    let status = if bad { ExitStatus::CheckFailed } else { ExitStatus::Success };
    if app.out.is_json() {
        let verified = verified.map(|verified| verified.is_ok());
        app.out
            .json(&json!({ "header": header, "claims": claims, "expired": expired, "signature_verified": verified }))?;
        return Ok(status);
    }
    let show =
        |name: &str| claims.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    for (name, value) in [
        ("algorithm", header.get("alg").and_then(Value::as_str).map(str::to_owned)),
        ("key", header.get("kid").and_then(Value::as_str).map(str::to_owned)),
        ("issuer", show("iss")),
        ("audience", show("aud")),
        ("subject", show("sub")),
        ("scope", show("scope")),
    ] {
        if let Some(value) = value {
            app.out.line(format!("{BOLD}{name:<10}{BOLD:#} {}", crate::output::one_line(&value)))?;
        }
    }
    let expiry = match expires_s {
        None => format!("{YELLOW}never: evs refuses tokens without exp{YELLOW:#}"),
        Some(at) => {
            let moment = time_ms(i64::try_from(at).unwrap_or(i64::MAX / 1_000).saturating_mul(1_000));
            let distance = seconds(at.abs_diff(now_s) as f64);
            if expired { format!("{RED}{moment}, {distance} ago{RED:#}") } else { format!("{moment}, in {distance}") }
        }
    };
    app.out.line(format!("{BOLD}{:<10}{BOLD:#} {expiry}", "expires"))?;
    let signature = match &verified {
        None => format!("{DIM}not checked; give --secret-file or --key-file{DIM:#}"),
        Some(Ok(_)) => format!("{GREEN}good{GREEN:#}"),
        Some(Err(error)) => format!("{RED}bad: {error}{RED:#}"),
    };
    app.out.line(format!("{BOLD}{:<10}{BOLD:#} {signature}", "signature"))?;

    Ok(status)
}

/// A section of a token.
type Section = Map<String, Value>;

/// Header and claims, unchecked.
pub(crate) fn parts(token: &str) -> Result<(Section, Section), Failure> {
    use base64::Engine as _;
    let fail =
        || Failure::new(ExitStatus::Rejected, "this is not a token: it has not the form header.claims.signature");
    let mut sections = token.split('.');
    let mut section = || -> Option<Map<String, Value>> {
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(sections.next()?).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    let parts = (section().ok_or_else(fail)?, section().ok_or_else(fail)?);
    Ok(parts)
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn args(secret: &Path) -> MintArgs {
        MintArgs {
            sub: "user_1".into(),
            scope: vec!["subscribe".into(), "produce".into()],
            ttl: Duration::from_secs(60),
            iss: "evs".into(),
            aud: "evs".into(),
            kid: Some("k1".into()),
            claim: vec!["tenant=\"acme\"".into(), "note=plain".into()],
            key: KeyArgs { secret_file: Some(secret.to_owned()), key_file: None, algorithm: None },
        }
    }

    #[test]
    fn a_minted_token_says_what_was_asked_and_verifies() {
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "0123456789abcdef0123456789abcdef").unwrap();
        let token = mint(&args(secret.path()), 1_000).unwrap();
        let (header, claims) = parts(&token).unwrap();
        assert_eq!((header["alg"].as_str(), header["kid"].as_str()), (Some("HS256"), Some("k1")));
        assert_eq!(claims["scope"], "subscribe produce");
        assert_eq!(claims["exp"], 1_060);
        assert_eq!((&claims["tenant"], &claims["note"]), (&json!("acme"), &json!("plain")));
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&["evs"]);
        let key = DecodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        assert!(jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok());
    }

    #[test]
    fn short_secrets_and_mixed_up_keys_are_refused() {
        let mut secret = tempfile::NamedTempFile::new().unwrap();
        writeln!(secret, "short").unwrap();
        assert!(mint(&args(secret.path()), 0).unwrap_err().message.contains("has 5 bytes"));
        let mut wrong = args(secret.path());
        wrong.key.algorithm = Some(Alg::EdDSA);
        assert_eq!(mint(&wrong, 0).unwrap_err().message, "EdDSA needs --key-file");
    }
}
