//! A tenant's mailbox over verified TLS (IMAP4rev1, RFC 3501): the mails that came since the last
//! time. It is opened for reading only, so nothing in it changes; time, bytes and mails of one
//! round are bounded, and what the server says is never repeated to anybody.

use std::fmt;
use std::io::{Error as IoError, ErrorKind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_imap::error::Error as ImapError;
use async_imap::{Client, Session};
use async_recursion::async_recursion as boxed;
use futures::TryStreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use veritwin_domain::Secret;

use super::turns::Waits;
use super::{Caller, GuardError, GuardedClient, Target};

/// For one round: resolving, connecting, signing in and reading.
pub const MAILBOX_TIMEOUT: Duration = Duration::from_secs(60);
/// Most mails of one round.
pub const MAILS_OF_ROUND_MAX: usize = 20;
/// Most mails of one round that are read a second time, beside those.
pub const MAILS_AGAIN_MAX: usize = 10;
/// Of a mail so many bytes are read from its beginning, which holds its headers and text.
pub const MAIL_BYTES_MAX: usize = 64 * 1024;
/// Most bytes that a server sends in one round.
pub const ROUND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most numbers of mails that are asked about at once; a mailbox may have gaps of any size.
const NUMBERS_AT_ONCE: u32 = 1000;
/// Longest greeting of a server, in bytes.
const GREETING_BYTES_MAX: usize = 1024;

/// How to get to a mailbox, and how far it was read.
#[derive(Debug)]
pub struct MailboxCall<'a> {
    /// Where it is.
    pub target: &'a Target,
    /// Who signs in.
    pub user: &'a str,
    /// The password.
    pub password: &'a Secret<String>,
    /// The folder.
    pub folder: &'a str,
    /// The numbering that counted last; 0: it was never read.
    pub numbering: u32,
    /// Up to which number it was read.
    pub read_to: u32,
    /// Numbers among those, from the first to the last, that are looked at once more.
    pub again: Option<(u32, u32)>,
}

/// A mail as it is in the mailbox.
pub struct MailboxMail {
    /// Its number.
    pub number: u32,
    /// When the server received it, in seconds since the epoch.
    pub received_at: Option<i64>,
    /// Its beginning: at most [`MAIL_BYTES_MAX`] bytes.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for MailboxMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxMail").field("number", &self.number).finish_non_exhaustive()
    }
}

/// What one round has found.
#[derive(Debug)]
pub struct MailboxRound {
    /// The numbering that counts now.
    pub numbering: u32,
    /// Up to where it is read once these mails are.
    pub read_to: u32,
    /// The mails, oldest first.
    pub mails: Vec<MailboxMail>,
    /// Whether there are more.
    pub has_more: bool,
    /// What was looked at once more; none where the numbering is another one.
    pub again: Option<MailboxSpan>,
}

/// Mails between two numbers.
#[derive(Debug)]
pub struct MailboxSpan {
    /// Up to which number it was looked.
    pub read_to: u32,
    /// The mails that there are, oldest first.
    pub mails: Vec<MailboxMail>,
}

/// Why a mailbox was not read. Nothing that the server said is in it.
#[derive(Debug, thiserror::Error)]
pub enum MailboxError {
    /// It was not got to.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The server does not let this user in.
    #[error("the mail server does not let this user in")]
    SignIn,
    /// There is no such folder.
    #[error("there is no such folder in this mailbox")]
    Folder,
    /// The server said what cannot be read, or too much.
    #[error("the mail server said what cannot be read here")]
    Protocol,
}

/// A connection that ends when a server says too much.
struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> fmt::Debug for Bounded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), IoError>> {
        if self.left == 0 {
            return Poll::Ready(Err(IoError::new(ErrorKind::InvalidData, "too much was sent")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, IoError>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), IoError>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), IoError>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What a server says first has to be that it is there, to somebody who has not signed in.
async fn greet<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), MailboxError> {
    let mut line = Vec::new();
    while line.len() < GREETING_BYTES_MAX {
        match stream.read_u8().await.map_err(|_| MailboxError::Protocol)? {
            b'\n' => {
                let is_there = line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"* OK");
                return if is_there { Ok(()) } else { Err(MailboxError::Protocol) };
            }
            byte => line.push(byte),
        }
    }
    Err(MailboxError::Protocol)
}

/// Reads what came since the last time.
async fn read<S>(stream: S, call: &MailboxCall<'_>) -> Result<MailboxRound, MailboxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut stream = Bounded { stream, left: ROUND_BYTES_MAX };
    greet(&mut stream).await?;
    let client = Client::new(stream);
    let signed_in = client.login(call.user, call.password.expose()).await;
    let mut session = signed_in.map_err(|(error, _)| match error {
        ImapError::No(_) => MailboxError::SignIn,
        _ => MailboxError::Protocol,
    })?;
    let opened = session.examine(call.folder).await.map_err(|error| match error {
        ImapError::No(_) => MailboxError::Folder,
        _ => MailboxError::Protocol,
    })?;
    let numbering = opened.uid_validity.ok_or(MailboxError::Protocol)?;
    let next = opened.uid_next.ok_or(MailboxError::Protocol)?;
    let newest = next.saturating_sub(1);
    let mut round = MailboxRound {
        numbering,
        read_to: newest,
        mails: Vec::new(),
        has_more: false,
        again: None,
    };
    // What was there before anybody asked for it to be read is left alone.
    if call.numbering != 0 {
        let is_same = call.numbering == numbering;
        let read_to = if is_same { call.read_to } else { 0 };
        round.read_to = read_to;
        if newest > read_to {
            let from = read_to.saturating_add(1);
            let found = span(&mut session, (from, newest), MAILS_OF_ROUND_MAX).await?;
            round.has_more = found.read_to < newest;
            (round.read_to, round.mails) = (found.read_to, found.mails);
        }
        if let Some(again) = call.again.filter(|_| is_same) {
            round.again = Some(span(&mut session, again, MAILS_AGAIN_MAX).await?);
        }
    }
    // It has said everything: how the connection ends is no matter.
    let _ = session.logout().await;
    Ok(round)
}

/// The first mails between two numbers, oldest first.
async fn span<S>(
    session: &mut Session<Bounded<S>>,
    (from, newest): (u32, u32),
    mails_max: usize,
) -> Result<MailboxSpan, MailboxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let to = newest.min(from.saturating_add(NUMBERS_AT_ONCE - 1));
    let mut numbers = numbers(session, (from, to)).await?;
    let mut found = MailboxSpan { read_to: to, mails: Vec::new() };
    if numbers.len() > mails_max {
        numbers.truncate(mails_max);
        found.read_to = numbers.last().copied().unwrap_or(from);
    }
    for number in numbers {
        if let Some(mail) = one(session, number).await? {
            found.mails.push(mail);
        }
    }
    Ok(found)
}

/// Which numbers between two there are, in their order.
async fn numbers<S>(
    session: &mut Session<Bounded<S>>,
    (from, to): (u32, u32),
) -> Result<Vec<u32>, MailboxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let wrong = |_| MailboxError::Protocol;
    let found = session.uid_fetch(format!("{from}:{to}"), "(UID)").await.map_err(wrong)?;
    let mut found = pin!(found);
    let mut numbers = Vec::new();
    while let Some(mail) = found.try_next().await.map_err(wrong)? {
        // A server may tell of any other mail beside.
        numbers.extend(mail.uid.filter(|number| (from..=to).contains(number)));
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The beginning of one mail; none once it is gone.
async fn one<S>(
    session: &mut Session<Bounded<S>>,
    number: u32,
) -> Result<Option<MailboxMail>, MailboxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let wrong = |_| MailboxError::Protocol;
    let asked = format!("(UID INTERNALDATE BODY.PEEK[]<0.{MAIL_BYTES_MAX}>)");
    let found = session.uid_fetch(number.to_string(), asked).await.map_err(wrong)?;
    let mut found = pin!(found);
    let mut mail = None;
    while let Some(answer) = found.try_next().await.map_err(wrong)? {
        let Some(bytes) = answer.body().filter(|_| answer.uid == Some(number)) else { continue };
        let received_at = answer.internal_date().map(|at| at.timestamp());
        let bytes = bytes[..bytes.len().min(MAIL_BYTES_MAX)].to_vec();
        mail = Some(MailboxMail { number, received_at, bytes });
    }
    Ok(mail)
}

impl GuardedClient {
    /// Reads what came into a tenant's mailbox since the last time.
    #[boxed]
    pub async fn read_mailbox<'a>(
        &'a self,
        caller: Caller,
        call: &'a MailboxCall<'a>,
    ) -> Result<MailboxRound, MailboxError> {
        let waits = Waits::default();
        let reads = async {
            let (_turn, stream) = self.open(Some(caller), call.target, &waits).await?;
            let stream = self.secure_plainly(call.target, stream).await?;
            Box::pin(read(stream, call)).await
        };
        match tokio::time::timeout(MAILBOX_TIMEOUT, reads).await {
            Ok(outcome) => outcome,
            Err(_) => Err(MailboxError::Guard(match waits.into_inner() {
                Some(limit) => GuardError::Busy(limit),
                None => GuardError::Unreachable {
                    host: call.target.host().to_owned(),
                    problem: "no answer in time".to_owned(),
                },
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    use super::*;

    /// A server of which the other end is ours: it answers the commands of one round in turn. `TAG`
    /// stands for the tag of the command.
    async fn round(
        read: (u32, u32),
        greeting: &str,
        answers: &[&str],
    ) -> Result<MailboxRound, MailboxError> {
        round_again(read, None, greeting, answers).await
    }

    /// The same, with numbers that are looked at once more.
    async fn round_again(
        (numbering, read_to): (u32, u32),
        again: Option<(u32, u32)>,
        greeting: &str,
        answers: &[&str],
    ) -> Result<MailboxRound, MailboxError> {
        let target = Target::parse("https://mail.example:993/").expect("a target");
        let password = Secret::new("secret".to_owned());
        let call = MailboxCall {
            target: &target,
            user: "privacy",
            password: &password,
            folder: "INBOX",
            numbering,
            read_to,
            again,
        };
        let (ours, theirs) = tokio::io::duplex(1024 * 1024);
        let (greeting, answers): (String, Vec<String>) =
            (greeting.to_owned(), answers.iter().map(|one| (*one).to_owned()).collect());
        let server = tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(theirs);
            let mut lines = BufReader::new(reader).lines();
            writer.write_all(greeting.as_bytes()).await.expect("written");
            for answer in answers {
                let Some(line) = lines.next_line().await.expect("a command") else { return };
                let tag = line.split(' ').next().expect("a tag");
                writer.write_all(answer.replace("TAG", tag).as_bytes()).await.expect("written");
            }
        });
        let outcome = read(ours, &call).await;
        server.abort();
        outcome
    }

    const OPENED: &str = "* 2 EXISTS\r\n* OK [UIDVALIDITY 7] valid\r\n* OK [UIDNEXT 12] next\r\n\
                          TAG OK [READ-ONLY] done\r\n";
    const OVER: &str = "* BYE bye\r\nTAG OK done\r\n";

    #[tokio::test]
    async fn what_is_there_already_is_left_alone() {
        let answers = ["TAG OK in\r\n", OPENED, OVER];
        let round = round((0, 0), "* OK ready\r\n", &answers).await.expect("a round");
        assert_eq!((round.numbering, round.read_to, round.has_more), (7, 11, false));
        assert!(round.mails.is_empty());
    }

    #[tokio::test]
    async fn new_mails_come_in_their_order_and_others_are_passed_by() {
        let answers = [
            "TAG OK in\r\n",
            OPENED,
            "* 2 FETCH (UID 11)\r\n* 1 FETCH (UID 3)\r\nTAG OK done\r\n",
            "* 2 FETCH (UID 11 INTERNALDATE \"30-Nov-2026 09:00:00 +0000\" BODY[]<0> {5}\r\n\
             Hello)\r\nTAG OK done\r\n",
            OVER,
        ];
        let round = round((7, 9), "* OK ready\r\n", &answers).await.expect("a round");
        assert_eq!((round.read_to, round.mails.len()), (11, 1));
        assert_eq!(round.mails[0].bytes, b"Hello");
        assert_eq!(round.mails[0].received_at, Some(1_796_029_200));
    }

    #[tokio::test]
    async fn what_was_left_is_looked_at_again_behind_what_is_new() {
        let answers = [
            "TAG OK in\r\n",
            OPENED,
            "* 1 FETCH (UID 3)\r\nTAG OK done\r\n",
            "* 1 FETCH (UID 3 INTERNALDATE \"30-Nov-2026 09:00:00 +0000\" BODY[]<0> {5}\r\n\
             Hello)\r\nTAG OK done\r\n",
            OVER,
        ];
        let again = Some((3, 5));
        let found = round_again((7, 11), again, "* OK ready\r\n", &answers).await;
        let found = found.expect("a round");
        assert_eq!((found.read_to, found.mails.len(), found.has_more), (11, 0, false));
        let left = found.again.expect("looked at again");
        assert_eq!((left.read_to, left.mails.len()), (5, 1));
        assert_eq!(left.mails[0].number, 3);
        // Numbers of another numbering are no mails of this one.
        let answers = ["TAG OK in\r\n", OPENED, "TAG OK done\r\n", OVER];
        let found = round_again((6, 11), again, "* OK ready\r\n", &answers).await;
        assert!(found.expect("a round").again.is_none());
    }

    #[tokio::test]
    async fn servers_that_refuse_are_told_apart() {
        let refused = ["TAG NO [AUTHENTICATIONFAILED] no\r\n"];
        let outcome = round((7, 9), "* OK ready\r\n", &refused).await;
        assert!(matches!(outcome, Err(MailboxError::SignIn)), "{outcome:?}");
        let outcome = round((7, 9), "* OK ready\r\n", &["TAG OK in\r\n", "TAG NO no\r\n"]).await;
        assert!(matches!(outcome, Err(MailboxError::Folder)), "{outcome:?}");
        let outcome = round((7, 9), "* BYE too many\r\n", &[]).await;
        assert!(matches!(outcome, Err(MailboxError::Protocol)), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_server_that_says_too_much_is_cut_off() {
        let much = format!("* OK {}\r\n", "x".repeat(GREETING_BYTES_MAX));
        let outcome = round((7, 9), &much, &[]).await;
        assert!(matches!(outcome, Err(MailboxError::Protocol)), "{outcome:?}");
        let mut bounded = Bounded { stream: std::io::Cursor::new(vec![0; 32]), left: 8 };
        let mut read = Vec::new();
        assert!(bounded.read_to_end(&mut read).await.is_err());
    }
}
