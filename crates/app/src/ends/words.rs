//! The words of mails about the end of an organisation, in each language of the product. What is
//! said stands in them as `{name}`.

use veritwin_domain::Timestamp;
use veritwin_governance::Language;

use crate::languages::{Worded, filled, in_language, moment_in};

/// A subject and a text.
type Mail = (&'static str, &'static str);

/// The words of one language.
struct Words {
    asked: Mail,
    /// Nobody else could agree.
    alone: &'static str,
    /// Somebody else has to agree.
    agree: &'static str,
    decided: Mail,
    soon: Mail,
    taken_back: Mail,
    lapsed: Mail,
    over: Mail,
    /// Of a certificate that was made.
    sealed: &'static str,
}

impl Words {
    fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }
}

/// What is told of an end.
#[derive(Debug, Clone, Copy)]
pub(super) enum News<'a> {
    /// Somebody asked for it.
    Asked {
        /// Nobody else could agree.
        is_sole: bool,
        /// When it is decided, or lapses.
        due_at: Timestamp,
    },
    /// It is decided.
    Decided {
        /// When everything goes.
        ends_at: Timestamp,
    },
    /// It comes soon.
    Soon {
        /// When everything goes.
        ends_at: Timestamp,
    },
    /// It was taken back.
    TakenBack,
    /// Nobody agreed.
    Lapsed,
    /// Everything was destroyed.
    Over {
        /// The number of the destruction.
        number: &'a str,
        /// The digest of its certificate and its leaf.
        certificate: Option<(&'a str, u64)>,
    },
}

/// The mails about an end, one in each language.
pub(super) fn mails(news: News<'_>) -> Vec<Worded> {
    let one = |language| {
        let (subject, text) = mail(language, news);
        (language, subject, text)
    };
    Language::ALL.into_iter().map(one).collect()
}

fn whole((subject, text): Mail, said: &[(&str, &str)]) -> (String, String) {
    (subject.to_owned(), format!("{}\n", filled(text, said)))
}

fn mail(language: Language, news: News<'_>) -> (String, String) {
    let words = Words::of(language);
    match news {
        News::Asked { is_sole, due_at } => {
            let at = moment_in(language, due_at);
            let next = if is_sole { words.alone } else { words.agree };
            let next = filled(next, &[("at", at.as_str())]);
            whole(words.asked, &[("next", next.as_str())])
        }
        News::Decided { ends_at } => {
            let at = moment_in(language, ends_at);
            whole(words.decided, &[("at", at.as_str())])
        }
        News::Soon { ends_at } => {
            let at = moment_in(language, ends_at);
            whole(words.soon, &[("at", at.as_str())])
        }
        News::TakenBack => whole(words.taken_back, &[]),
        News::Lapsed => whole(words.lapsed, &[]),
        News::Over { number, certificate } => {
            let sealed = certificate.map(|(digest, index)| {
                let index = index.to_string();
                filled(words.sealed, &[("digest", digest), ("index", index.as_str())])
            });
            let sealed = sealed.unwrap_or_default();
            whole(words.over, &[("sealed", sealed.as_str()), ("number", number)])
        }
    }
}

static ENGLISH: Words = Words {
    asked: (
        "Somebody asked for the end of your organisation",
        "An owner or administrator asked for the end of your organisation. {next} After that \
         decision everything is still there for 30 days, can be exported, and the end can be \
         taken back. Then everything is destroyed.",
    ),
    alone: "There is nobody else who could agree, so it is decided by itself on {at}, unless it \
            is taken back before.",
    agree: "Another owner or administrator has to agree by {at}; otherwise nothing happens.",
    decided: (
        "Your organisation ends",
        "The end of your organisation is decided. Until {at} everything is still there: export \
         what you need. An owner or administrator can take the end back until then. After that \
         everything is destroyed and cannot be brought back.",
    ),
    soon: (
        "Your organisation ends soon",
        "Everything of your organisation is destroyed on {at}. Export what you need before. An \
         owner or administrator can still take the end back.",
    ),
    taken_back: (
        "Your organisation goes on",
        "The end of your organisation was taken back. Nothing was destroyed.",
    ),
    lapsed: (
        "Your organisation goes on",
        "Nobody agreed to the end of your organisation in time. Nothing happens.",
    ),
    over: (
        "Your organisation has ended",
        "Everything of your organisation was destroyed, with its keys. {sealed}Its number is \
         {number}: whoever runs the platform hands it out.",
    ),
    sealed: "The certificate has the SHA-256 {digest} and is entry {index} of the platform's \
             ledger. ",
};

static CHINESE: Words = Words {
    asked: (
        "有人請求終止您的組織",
        "擁有者或管理員請求終止您的組織。{next}作成該決定後，所有內容仍會保留 30 天，可供匯出，\
         且終止可以撤回。之後一切都會被銷毀。",
    ),
    alone: "沒有其他人可以同意，因此將於 {at} 自動決定，除非在此之前撤回。",
    agree: "須由另一位擁有者或管理員於 {at} 前同意；否則不會發生任何事。",
    decided: (
        "您的組織即將終止",
        "您的組織的終止已經決定。至 {at} 為止一切仍在：請匯出您需要的內容。在此之前，\
         擁有者或管理員可以撤回終止。之後一切都會被銷毀，且無法復原。",
    ),
    soon: (
        "您的組織很快就會終止",
        "您的組織的一切將於 {at} 銷毀。請事先匯出您需要的內容。擁有者或管理員仍可撤回終止。",
    ),
    taken_back: ("您的組織繼續存在", "您的組織的終止已撤回。沒有任何內容被銷毀。"),
    lapsed: ("您的組織繼續存在", "沒有人在期限內同意終止您的組織。不會發生任何事。"),
    over: (
        "您的組織已終止",
        "您的組織的一切已連同其金鑰銷毀。{sealed}其編號為 {number}：由平台的營運者提供。",
    ),
    sealed: "證明的 SHA-256 為 {digest}，是平台帳本的第 {index} 項。",
};

static JAPANESE: Words = Words {
    asked: (
        "組織の終了が求められました",
        "オーナーまたは管理者が、あなたの組織の終了を求めました。{next}\
         決定後も30日間はすべてが残り、書き出すことができ、終了を取り消すこともできます。\
         その後、すべてが破棄されます。",
    ),
    alone: "ほかに同意できる人がいないため、それまでに取り消されなければ、\
            {at}に自動的に決定されます。",
    agree: "別のオーナーまたは管理者が{at}までに同意する必要があります。\
            同意がなければ何も起こりません。",
    decided: (
        "あなたの組織は終了します",
        "あなたの組織の終了が決定されました。{at}まではすべてが残っています。\
         必要なものを書き出してください。それまでは、オーナーまたは管理者が終了を取り消せます。\
         その後、すべてが破棄され、元に戻すことはできません。",
    ),
    soon: (
        "まもなくあなたの組織は終了します",
        "あなたの組織のすべてが{at}に破棄されます。その前に必要なものを書き出してください。\
         オーナーまたは管理者は、まだ終了を取り消せます。",
    ),
    taken_back: (
        "あなたの組織は存続します",
        "あなたの組織の終了は取り消されました。何も破棄されていません。",
    ),
    lapsed: (
        "あなたの組織は存続します",
        "期限までに、あなたの組織の終了に同意した人はいませんでした。何も起こりません。",
    ),
    over: (
        "あなたの組織は終了しました",
        "あなたの組織のすべてが、鍵とともに破棄されました。{sealed}その番号は{number}です。\
         プラットフォームの運営者がお渡しします。",
    ),
    sealed: "証明書のSHA-256は{digest}で、プラットフォームの台帳の{index}番目の項目です。",
};

static KOREAN: Words = Words {
    asked: (
        "조직의 종료가 요청되었습니다",
        "소유자 또는 관리자가 귀하의 조직의 종료를 요청했습니다. {next} 결정 후에도 30일 동안 모든 \
         것이 남아 있어 내보낼 수 있고 종료를 철회할 수 있습니다. 그 후 모든 것이 파기됩니다.",
    ),
    alone: "동의할 다른 사람이 없으므로, 그 전에 철회되지 않으면 {at}에 자동으로 결정됩니다.",
    agree: "다른 소유자 또는 관리자가 {at}까지 동의해야 하며, 그렇지 않으면 아무 일도 일어나지 \
            않습니다.",
    decided: (
        "귀하의 조직이 종료됩니다",
        "귀하의 조직의 종료가 결정되었습니다. {at}까지는 모든 것이 남아 있으니 필요한 것을 \
         내보내십시오. 그때까지 소유자 또는 관리자가 종료를 철회할 수 있습니다. 그 후에는 모든 것이 \
         파기되며 되돌릴 수 없습니다.",
    ),
    soon: (
        "귀하의 조직이 곧 종료됩니다",
        "귀하의 조직의 모든 것이 {at}에 파기됩니다. 그 전에 필요한 것을 내보내십시오. 소유자 또는 \
         관리자는 아직 종료를 철회할 수 있습니다.",
    ),
    taken_back: (
        "귀하의 조직은 계속됩니다",
        "귀하의 조직의 종료가 철회되었습니다. 아무것도 파기되지 않았습니다.",
    ),
    lapsed: (
        "귀하의 조직은 계속됩니다",
        "기한 내에 귀하의 조직의 종료에 동의한 사람이 없었습니다. 아무 일도 일어나지 않습니다.",
    ),
    over: (
        "귀하의 조직이 종료되었습니다",
        "귀하의 조직의 모든 것이 키와 함께 파기되었습니다. {sealed}그 번호는 {number}이며, 플랫폼 \
         운영자가 제공합니다.",
    ),
    sealed: "증명서의 SHA-256은 {digest}이고, 플랫폼 원장의 {index}번째 항목입니다. ",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_says_everything() {
        let at = Timestamp::parse_rfc3339("2027-01-31T08:00:00Z").expect("a time");
        let certificate = Some(("ab12", 7));
        let all: [(News<'_>, &[&str]); 8] = [
            (News::Asked { is_sole: true, due_at: at }, &["08:00 UTC", "30"]),
            (News::Asked { is_sole: false, due_at: at }, &["08:00 UTC", "30"]),
            (News::Decided { ends_at: at }, &["08:00 UTC"]),
            (News::Soon { ends_at: at }, &["08:00 UTC"]),
            (News::TakenBack, &[]),
            (News::Lapsed, &[]),
            (News::Over { number: "N-1", certificate: None }, &["N-1"]),
            (News::Over { number: "N-1", certificate }, &["N-1", "ab12", "7"]),
        ];
        for (news, expect) in all {
            let mails = mails(news);
            assert_eq!(mails.len(), Language::ALL.len());
            for (language, subject, text) in &mails {
                assert!(!subject.is_empty() && text.ends_with('\n'), "{language:?}: {news:?}");
                assert!(!text.contains(['{', '}']), "{text}");
                assert!(expect.iter().all(|part| text.contains(part)), "{expect:?} in {text}");
            }
        }
    }
}
