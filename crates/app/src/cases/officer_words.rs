//! What privacy officers are told of requests, in each language of the product. Whose a request is
//! and what it says is not in it.

use veritwin_domain::Timestamp;
use veritwin_governance::Language;

use super::body::Case;
use super::clock::Alarm;
use crate::languages::{Worded, filled, moment_in};

/// What officers are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// A request came.
    Received,
    /// A deadline is near.
    Near,
    /// A deadline was missed.
    Missed,
    /// Who asks has not shown who they are.
    NotVerified,
}

impl News {
    /// What an alarm tells.
    pub(super) const fn of(alarm: Alarm) -> Self {
        match alarm {
            Alarm::NotVerified => Self::NotVerified,
            _ if alarm.is_breach() => Self::Missed,
            _ => Self::Near,
        }
    }

    /// The mails about a case, one in each language.
    pub(super) fn mails(self, case: &Case, now: Timestamp) -> Vec<Worded> {
        let (received_at, by) = (case.row.received_at, case.answer_by(now));
        let number = case.row.id.to_string();
        let one = |language| {
            let (since, by) = (moment_in(language, received_at), moment_in(language, by));
            let (since, by) = (since.as_str(), by.as_str());
            let said = [("number", number.as_str()), ("since", since), ("by", by)];
            let (subject, text) = words(language, self);
            (language, subject.to_owned(), format!("{}\n", filled(text, &said)))
        };
        Language::ALL.into_iter().map(one).collect()
    }
}

const fn words(language: Language, news: News) -> (&'static str, &'static str) {
    let (subjects, received, alarm) = match language {
        Language::English => (
            [
                "A data subject's request was received",
                "A deadline of a data subject's request is near",
                "A deadline of a data subject's request was missed",
                "A data subject has not shown who they are",
            ],
            "A data subject's request was received. It has to be answered by {by}. Sign in and \
             open Requests.",
            "The request {number} was received on {since} and has to be answered by {by}. Sign in \
             and open Requests.",
        ),
        Language::ChineseTraditional => (
            [
                "已收到一項當事人請求",
                "一項當事人請求的期限將至",
                "一項當事人請求已逾期限",
                "一位當事人尚未證明其身分",
            ],
            "已收到一項當事人請求。須於 {by} 前答覆。請登入並開啟「請求」。",
            "請求 {number} 於 {since} 收到，須於 {by} 前答覆。請登入並開啟「請求」。",
        ),
        Language::Japanese => (
            [
                "本人からの請求を受け付けました",
                "本人からの請求の期限が近づいています",
                "本人からの請求の期限を過ぎました",
                "請求した人の本人確認ができていません",
            ],
            "本人からの請求を受け付けました。{by}までに回答する必要があります。\
             サインインして「請求」を開いてください。",
            "請求{number}は{since}に受け付け、{by}までに回答する必要があります。\
             サインインして「請求」を開いてください。",
        ),
        Language::Korean => (
            [
                "정보주체의 요청이 접수되었습니다",
                "정보주체의 요청 기한이 다가옵니다",
                "정보주체의 요청 기한이 지났습니다",
                "정보주체가 아직 본인임을 확인하지 않았습니다",
            ],
            "정보주체의 요청이 접수되었습니다. {by}까지 답변해야 합니다. 로그인하여 요청을 여십시오.",
            "요청 {number}은(는) {since}에 접수되었고 {by}까지 답변해야 합니다. 로그인하여 요청을 \
             여십시오.",
        ),
    };
    let [of_received, of_near, of_missed, of_nobody] = subjects;
    match news {
        News::Received => (of_received, received),
        News::Near => (of_near, alarm),
        News::Missed => (of_missed, alarm),
        News::NotVerified => (of_nobody, alarm),
    }
}

/// That the mailbox for requests cannot be read, or that mails are left in it, in each language.
pub(super) fn mailbox_mails(is_full: bool) -> Vec<Worded> {
    let one = |language| {
        let [unread, full] = mailbox_words(language);
        let (subject, text) = if is_full { full } else { unread };
        (language, subject.to_owned(), format!("{text}\n"))
    };
    Language::ALL.into_iter().map(one).collect()
}

const fn mailbox_words(language: Language) -> [(&'static str, &'static str); 2] {
    match language {
        Language::English => [
            (
                "The mailbox for requests cannot be read",
                "The mailbox that requests of data subjects are read from could not be read twice \
                 in a row. Requests may wait in it, and their time runs. Sign in and open \
                 Requests: it says there what is wrong.",
            ),
            (
                "Mails are left in the mailbox for requests",
                "As many requests wait as may, so that further mails are left in the mailbox and \
                 taken later. Sign in, open Requests, and close what can be closed.",
            ),
        ],
        Language::ChineseTraditional => [
            (
                "無法讀取接收請求的信箱",
                "接收當事人請求的信箱已連續兩次無法讀取。其中可能有等待處理的請求，期限仍在進行。\
                 請登入並開啟「請求」，該處說明問題所在。",
            ),
            (
                "接收請求的信箱中留有郵件",
                "等待處理的請求已達上限，後續郵件會留在信箱中，稍後再收。\
                 請登入並開啟「請求」，將可結案者結案。",
            ),
        ],
        Language::Japanese => [
            (
                "請求用のメールボックスを読み取れません",
                "本人からの請求を受け付けるメールボックスを、2回続けて読み取れませんでした。\
                 請求が届いている可能性があり、その期限は進んでいます。\
                 サインインして「請求」を開いてください。原因が示されています。",
            ),
            (
                "請求用のメールボックスにメールが残っています",
                "待っている請求が上限に達したため、以降のメールはメールボックスに残し、\
                 後で受け付けます。サインインして「請求」を開き、終えられるものを終えてください。",
            ),
        ],
        Language::Korean => [
            (
                "요청용 메일함을 읽을 수 없습니다",
                "정보주체의 요청을 받는 메일함을 두 번 연속으로 읽지 못했습니다. 요청이 와 있을 수 \
                 있으며 그 기한은 계속 흐릅니다. 로그인하여 요청을 여십시오. 무엇이 문제인지 \
                 표시됩니다.",
            ),
            (
                "요청용 메일함에 메일이 남아 있습니다",
                "대기 중인 요청이 한도에 이르러 이후의 메일은 메일함에 남겨 두고 나중에 받습니다. \
                 로그인하여 요청을 열고 끝낼 수 있는 것을 끝내 주십시오.",
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_the_same_places() {
        for language in Language::ALL {
            let places = |news: News, places: &[&str]| {
                let (subject, text) = words(language, news);
                assert!(!subject.is_empty(), "{language:?}");
                assert_eq!(text.matches('{').count(), places.len(), "{text}");
                assert!(places.iter().all(|place| text.contains(place)), "{text}");
            };
            places(News::Received, &["{by}"]);
            for news in [News::Near, News::Missed, News::NotVerified] {
                places(news, &["{number}", "{since}", "{by}"]);
            }
        }
    }

    #[test]
    fn each_language_tells_of_the_mailbox_in_words_of_its_own() {
        for is_full in [false, true] {
            for (language, subject, text) in mailbox_mails(is_full) {
                assert_eq!(subject.is_ascii(), language == Language::English, "{subject}");
                assert_eq!(text.is_ascii(), language == Language::English, "{text}");
            }
        }
        assert_ne!(mailbox_mails(false), mailbox_mails(true));
    }

    #[test]
    fn alarms_are_told_as_what_they_are() {
        assert_eq!(News::of(Alarm::AcknowledgeSoon), News::Near);
        assert_eq!(News::of(Alarm::AnswerTomorrow), News::Near);
        assert_eq!(News::of(Alarm::AnswerMissed), News::Missed);
        assert_eq!(News::of(Alarm::NotVerified), News::NotVerified);
    }
}
