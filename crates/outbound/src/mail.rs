//! Mail through the operator's SMTP server, with verified TLS except to this machine itself. It
//! sends plain text with attachments, never inline, to one recipient at a time, and keeps
//! addresses out of logs and errors.

use std::sync::Arc;
use std::time::Duration;

use async_recursion::async_recursion as boxed;
use lettre::message::header::{
    ContentTransferEncoding, ContentType, Header, HeaderName, HeaderValue,
};
use lettre::message::{Attachment, Body, Mailbox, Message, MultiPart, SinglePart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use veritwin_domain::Secret;

use crate::register::{Destination, DestinationKind, EgressRegister, NotRegistered};

/// Most mails that are on their way to the server at once, each on a connection that later ones
/// use again.
pub const DELIVERIES_MAX: usize = 8;
/// A connection without work is closed after this long.
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(20);
const SUBJECT_CHARS_MAX: usize = 200;
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of a mail's attachments together.
pub const ATTACHED_BYTES_MAX: usize = 512 * 1024;
const REPLY_CHARS_MAX: usize = 300;

/// How to reach the mail server.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// `smtps://host:465`, or `smtp://host:587` (STARTTLS required, except to this machine).
    pub url: String,
    /// Sender address.
    pub from: String,
    /// User name and password, when the server wants them.
    pub login: Option<(String, Secret<String>)>,
    /// PEM of a private authority to trust besides the public ones.
    pub authority_pem: Option<Vec<u8>>,
}

/// Why mail cannot be set up or sent. Holds no address.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The configuration cannot be used.
    #[error("smtp: {0}")]
    Config(String),
    /// The address is not one.
    #[error("not an e-mail address: expected the form name@host")]
    Address,
    /// The server is not registered as a destination.
    #[error(transparent)]
    NotRegistered(#[from] NotRegistered),
    /// The server refuses this message for good; trying again is useless.
    #[error("the mail server refused the message for good (code {0})")]
    Refused(String),
    /// Not now; try again later.
    #[error("the mail server did not take the message: {0}")]
    Unavailable(Trouble),
}

/// Why the server does not take a message now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It cannot be reached, or went away.
    #[error("no connection")]
    Connection,
    /// The connection cannot be made safe.
    #[error("TLS failed")]
    Tls,
    /// It does not accept the sender's user name and password.
    #[error("it does not let us sign in (code {0})")]
    SignIn(String),
    /// It cannot be signed, so it is not shown to the server.
    #[error("no key to sign with")]
    Unsigned,
    /// It answered with this code.
    #[error("code {0}")]
    Code(String),
}

impl Trouble {
    /// A word for it, for records.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Connection => "no_connection",
            Self::Tls => "tls",
            Self::SignIn(_) => "sign_in",
            Self::Unsigned => "unsigned",
            Self::Code(_) => "deferred",
        }
    }

    /// The SMTP reply's code, if there was a reply.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::SignIn(code) | Self::Code(code) => Some(code),
            Self::Connection | Self::Tls | Self::Unsigned => None,
        }
    }
}

/// Replies about the sender's own user name and password (RFC 4954), not about a message.
const SIGN_IN_CODES: [&str; 5] = ["454", "530", "534", "535", "538"];

fn failed(error: &lettre::transport::smtp::Error) -> MailError {
    // The reply's text may repeat the recipient's address: only the code goes on.
    let code = error.status().map(|code| code.to_string());
    match code {
        Some(code) if SIGN_IN_CODES.contains(&code.as_str()) => {
            MailError::Unavailable(Trouble::SignIn(code))
        }
        code if error.is_permanent() => MailError::Refused(code.unwrap_or_else(|| "5xx".into())),
        Some(code) => MailError::Unavailable(Trouble::Code(code)),
        None if error.is_tls() => MailError::Unavailable(Trouble::Tls),
        None => MailError::Unavailable(Trouble::Connection),
    }
}

/// A message to one person.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The recipient's address.
    pub to: Secret<String>,
    /// Subject line; longer ones are cut.
    pub subject: String,
    /// The text.
    pub text: String,
    /// Files that go with it.
    pub attachments: Vec<MailFile>,
    /// The name beside the sender's address, and where answers go.
    pub voice: Voice,
    /// Becomes the Message-ID, so that a repeated delivery can be recognised.
    pub idempotency_key: String,
}

/// A file that goes with a mail, always as an attachment and in base64: not a byte of it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailFile {
    /// Its name: letters, digits, points and dashes.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// In whose name a mail speaks. The sender's address is always the configured one, which the
/// server's operator proved to own.
#[derive(Debug, Clone, Default)]
pub struct Voice {
    /// The name shown beside the sender's address.
    pub name: Option<String>,
    /// Where answers go, if not to the sender.
    pub reply_to: Option<Secret<String>>,
}

/// A mail that is ready to leave.
#[derive(Clone)]
pub struct ComposedMail {
    envelope: lettre::address::Envelope,
    /// The exact bytes that are sent.
    bytes: Vec<u8>,
}

impl std::fmt::Debug for ComposedMail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComposedMail").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl ComposedMail {
    /// The exact bytes that are sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts fields before it, each with its line end: signatures over what follows them.
    pub fn put_before(&mut self, fields: &str) {
        self.bytes.splice(0..0, fields.bytes());
    }
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailReceipt {
    /// The SMTP reply's code, such as `250`.
    pub code: String,
    /// The reply's text, cut. It may repeat the recipient's address.
    pub text: String,
}

/// Sends mail through one server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    destination: Destination,
    register: Arc<EgressRegister>,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailer").field("destination", &self.destination).finish_non_exhaustive()
    }
}

struct Url<'a> {
    implicit_tls: bool,
    host: &'a str,
    port: u16,
}

fn parse_url(url: &str) -> Result<Url<'_>, MailError> {
    let wrong = || {
        MailError::Config(
            "smtp.url must look like smtps://mail.example:465 or smtp://mail.example:587"
                .to_owned(),
        )
    };
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let implicit_tls = match scheme {
        "smtps" => true,
        "smtp" => false,
        _ => return Err(wrong()),
    };
    let rest = rest.trim_end_matches('/');
    let default_port = if implicit_tls { 465 } else { 587 };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| wrong())?),
        None => (rest, default_port),
    };
    if host.is_empty() || host.contains('@') {
        return Err(wrong());
    }
    Ok(Url { implicit_tls, host, port })
}

impl Mailer {
    /// A mailer; registers its server as a sub-processor.
    pub fn new(config: &MailConfig, register: Arc<EgressRegister>) -> Result<Self, MailError> {
        let url = parse_url(&config.url)?;
        let destination = Destination::new(url.host, url.port);
        let mut tls = TlsParameters::builder(url.host.to_owned());
        if let Some(pem) = &config.authority_pem {
            let authority = Certificate::from_pem(pem).map_err(|_| {
                MailError::Config("the authority is not a PEM certificate".to_owned())
            })?;
            tls = tls.add_root_certificate(authority);
        }
        let tls = tls.build_rustls().map_err(|error| MailError::Config(error.to_string()))?;
        let security = if url.implicit_tls {
            Tls::Wrapper(tls)
        } else if destination.is_loopback() {
            Tls::Opportunistic(tls)
        } else {
            Tls::Required(tls)
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(url.host)
            .port(url.port)
            .timeout(Some(TIMEOUT))
            .pool_config(
                PoolConfig::new()
                    .max_size(u32::try_from(DELIVERIES_MAX).unwrap_or(u32::MAX))
                    .idle_timeout(CONNECTION_IDLE_MAX),
            )
            .tls(security);
        if let Some((user, password)) = &config.login {
            builder =
                builder.credentials(Credentials::new(user.clone(), password.expose().clone()));
        }
        let from = config
            .from
            .parse()
            .map_err(|_| MailError::Config("smtp.from is not an e-mail address".to_owned()))?;
        register.register(destination.clone(), DestinationKind::SubProcessor, "outgoing mail");
        Ok(Self { transport: builder.build(), from, destination, register })
    }

    /// Closes the connections that wait for work. Nothing can be sent afterwards.
    #[boxed]
    pub async fn close(&self) {
        self.transport.shutdown().await;
    }

    /// The domain of the sender's address.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// Makes a message ready to leave.
    pub fn compose(&self, mail: &Mail) -> Result<ComposedMail, MailError> {
        let to: Address = mail.to.expose().parse().map_err(|_| MailError::Address)?;
        let subject: String = mail
            .subject
            .chars()
            .filter(|c| !veritwin_domain::is_unseen(*c))
            .take(SUBJECT_CHARS_MAX)
            .collect();
        let name: Option<String> = mail
            .voice
            .name
            .as_ref()
            .map(|name| name.chars().filter(|c| !veritwin_domain::is_unseen(*c)).collect());
        let from = Mailbox::new(name.or(self.from.name.clone()), self.from.email.clone());
        let mut builder = Message::builder();
        if let Some(reply_to) = &mail.voice.reply_to {
            let address: Address = reply_to.expose().parse().map_err(|_| MailError::Address)?;
            builder = builder.reply_to(Mailbox::new(None, address));
        }
        let builder = builder
            .message_id(Some(format!("<{}@{}>", mail.idempotency_key, self.domain())))
            .from(from)
            .to(Mailbox::new(None, to.clone()))
            .subject(subject)
            .header(AutoSubmitted);
        let text = cut(&mail.text).to_owned();
        let message = if mail.attachments.is_empty() {
            builder.header(ContentType::TEXT_PLAIN).body(text)
        } else {
            builder.multipart(parts(mail, text)?)
        };
        let message =
            message.map_err(|_| MailError::Config("the message cannot be built".to_owned()))?;
        let envelope = lettre::address::Envelope::new(Some(self.from.email.clone()), vec![to])
            .map_err(|_| MailError::Address)?;
        Ok(ComposedMail { envelope, bytes: message.formatted() })
    }

    /// Sends one message.
    #[boxed]
    pub async fn send(&self, mail: &ComposedMail) -> Result<MailReceipt, MailError> {
        self.register.check(&self.destination)?;
        match self.transport.send_raw(&mail.envelope, &mail.bytes).await {
            Ok(response) => {
                let text: Vec<&str> = response.message().collect();
                let text = text.join(" ").chars().take(REPLY_CHARS_MAX).collect();
                Ok(MailReceipt { code: response.code().to_string(), text })
            }
            Err(error) => Err(failed(&error)),
        }
    }
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The text, and each file as an attachment.
fn parts(mail: &Mail, text: String) -> Result<MultiPart, MailError> {
    let wrong = |what: &str| MailError::Config(format!("an attachment {what}"));
    let bytes: usize = mail.attachments.iter().map(|file| file.bytes.len()).sum();
    if bytes > ATTACHED_BYTES_MAX {
        return Err(wrong("is too large"));
    }
    let boundary = format!("veritwin-{}", mail.idempotency_key);
    let first = SinglePart::builder().header(ContentType::TEXT_PLAIN).body(text);
    let mut all = MultiPart::mixed().boundary(boundary).singlepart(first);
    for file in &mail.attachments {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if file.name.is_empty() || !file.name.bytes().all(is_plain) {
            return Err(wrong("has a name that is not plain"));
        }
        let kind =
            ContentType::parse("application/octet-stream").map_err(|_| wrong("has no type"))?;
        let body = Body::new_with_encoding(file.bytes.clone(), ContentTransferEncoding::Base64)
            .map_err(|_| wrong("cannot be encoded"))?;
        all = all.singlepart(Attachment::new(file.name.clone()).body(body, kind));
    }
    Ok(all)
}

/// That no person wrote it, so that no machine answers it (RFC 3834, section 5).
#[derive(Debug, Clone, Copy)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Whether a text has the form of an e-mail address.
pub fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.parse::<Address>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailer() -> Mailer {
        let config = MailConfig {
            url: "smtp://127.0.0.1:2525".to_owned(),
            from: "Ledger <ledger@veritwin.example>".to_owned(),
            login: None,
            authority_pem: None,
        };
        Mailer::new(&config, Arc::new(EgressRegister::default())).unwrap()
    }

    #[tokio::test]
    async fn files_are_attached_and_signatures_come_first() {
        let file = MailFile { name: "checkpoint".to_owned(), bytes: b"a\nb\r\n".to_vec() };
        let mail = Mail {
            to: Secret::new("ada@auditor.example".to_owned()),
            subject: "Checkpoint".to_owned(),
            text: "Hello".to_owned(),
            attachments: vec![file],
            voice: Voice::default(),
            idempotency_key: "ab12".to_owned(),
        };
        let mut composed = mailer().compose(&mail).unwrap();
        let text = String::from_utf8(composed.bytes().to_vec()).unwrap();
        for part in [
            "Message-ID: <ab12@veritwin.example>",
            "multipart/mixed",
            "boundary=\"veritwin-ab12\"",
            "Content-Disposition: attachment; filename=\"checkpoint\"",
            "YQpiDQo=",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("inline"), "{text}");
        composed.put_before("X-Signature: y\r\n");
        assert_eq!(composed.bytes(), format!("X-Signature: y\r\n{text}").as_bytes());
        let file = MailFile { name: "a b".to_owned(), bytes: Vec::new() };
        let wrong = Mail { attachments: vec![file], ..mail };
        assert!(matches!(mailer().compose(&wrong), Err(MailError::Config(_))));
    }

    #[test]
    fn urls() {
        let check = |text: &str, expect: Option<(bool, &str, u16)>| {
            let parsed = parse_url(text).ok().map(|url| (url.implicit_tls, url.host, url.port));
            assert_eq!(parsed, expect, "{text}");
        };
        check("smtps://mail.example", Some((true, "mail.example", 465)));
        check("smtp://127.0.0.1:2525/", Some((false, "127.0.0.1", 2525)));
        check("http://mail.example", None);
        check("mail.example:25", None);
        check("smtp://user@mail.example:25", None);
        check("smtp://:25", None);
    }
}
