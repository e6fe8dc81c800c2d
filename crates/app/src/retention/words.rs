//! What mails say of a time that was shortened, in each language of the product.

use veritwin_domain::Timestamp;
use veritwin_governance::Language;

use super::Kept;
use crate::languages::{filled, in_language, moment_in};

/// What a mail names.
pub(super) struct Shortened<'a> {
    /// The plan that is new or was changed.
    pub(super) plan: &'a str,
    /// Whom to ask.
    pub(super) ask: &'a str,
    /// How long it is kept from then on, and before.
    pub(super) days: (Option<u64>, Option<u64>),
    /// From when on.
    pub(super) until: Timestamp,
}

/// The words of one language.
struct Words {
    one_day: &'static str,
    days: &'static str,
    for_ever: &'static str,
    readings: (&'static str, &'static str),
    ledger: (&'static str, &'static str),
}

impl Words {
    fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }

    fn in_days(&self, days: Option<u64>) -> String {
        match days {
            Some(1) => self.one_day.to_owned(),
            Some(days) => filled(self.days, &[("days", days.to_string().as_str())]),
            None => self.for_ever.to_owned(),
        }
    }
}

impl Kept {
    /// The name of the mail that says it is kept for less time; a time has one name.
    pub(super) fn mail_name(self, days: Option<u64>) -> String {
        let days = ENGLISH.in_days(days);
        match self {
            Self::Readings => format!("retention {days}"),
            Self::Ledger => format!("audit {days}"),
        }
    }

    /// Subject and text of that mail.
    pub(super) fn mail(self, language: Language, said: &Shortened<'_>) -> (String, String) {
        let words = Words::of(language);
        let (subject, text) = match self {
            Self::Readings => words.readings,
            Self::Ledger => words.ledger,
        };
        let (days, before) = (words.in_days(said.days.0), words.in_days(said.days.1));
        let until = moment_in(language, said.until);
        let text = filled(
            text,
            &[
                ("plan", said.plan),
                ("days", days.as_str()),
                ("before", before.as_str()),
                ("until", until.as_str()),
                ("ask", said.ask),
            ],
        );
        (subject.to_owned(), text)
    }
}

static ENGLISH: Words = Words {
    one_day: "1 day",
    days: "{days} days",
    for_ever: "without an end",
    readings: (
        "Readings will be kept for less time",
        "Your organisation has the plan \"{plan}\", which is new to it or was changed: readings \
         are kept {days} instead of {before}. Older ones are destroyed for good, by whole days, \
         but not before {until}. Until then it can be taken back: ask {ask}. A hold over a period \
         keeps the readings of its days.\n",
    ),
    ledger: (
        "The ledger's records will be kept for less time",
        "Your organisation has the plan \"{plan}\", which is new to it or was changed: the records \
         that the ledger sealed can be opened {days} instead of {before}. Older ones are destroyed \
         for good, by whole days, but not before {until}. Until then it can be taken back: ask \
         {ask}. A hold over a period keeps the records sealed on its days. The entries of the \
         ledger stay and are proven as before.\n",
    ),
};

static CHINESE: Words = Words {
    one_day: "1 天",
    days: "{days} 天",
    for_ever: "無期限",
    readings: (
        "讀數的保存時間將縮短",
        "貴組織的方案為「{plan}」，該方案對貴組織而言是新的，或已經變更：讀數的保存時間由「{before}」改為\
         「{days}」。更早的讀數會以整日為單位永久銷毀，但不會早於{until}。在此之前可以撤回這項變更，\
         請洽{ask}。對某段期間的保全會留住該期間各日的讀數。\n",
    ),
    ledger: (
        "帳本紀錄的保存時間將縮短",
        "貴組織的方案為「{plan}」，該方案對貴組織而言是新的，或已經變更：帳本所密封的紀錄可開啟的時間由\
         「{before}」改為「{days}」。更早的紀錄會以整日為單位永久銷毀，但不會早於{until}。在此之前可以\
         撤回這項變更，請洽{ask}。對某段期間的保全會留住該期間各日密封的紀錄。帳本的條目會保留，\
         並如同以往可以證明。\n",
    ),
};

static JAPANESE: Words = Words {
    one_day: "1日",
    days: "{days}日",
    for_ever: "無期限",
    readings: (
        "計測値の保存期間が短くなります",
        "貴組織のプラン「{plan}」は、新しく適用されたか、変更されました。計測値の保存期間は「{before}」から\
         「{days}」になります。それより古い計測値は日単位で完全に破棄されますが、{until}より前には\
         破棄されません。それまでは元に戻せます。{ask}にお問い合わせください。期間を対象とする保全は、\
         その期間の各日の計測値を残します。\n",
    ),
    ledger: (
        "台帳の記録の保存期間が短くなります",
        "貴組織のプラン「{plan}」は、新しく適用されたか、変更されました。台帳が封印した記録を開ける期間は\
         「{before}」から「{days}」になります。それより古い記録は日単位で完全に破棄されますが、{until}\
         より前には破棄されません。それまでは元に戻せます。{ask}にお問い合わせください。期間を対象とする\
         保全は、その期間の各日に封印された記録を残します。台帳の項目は残り、これまでどおり証明できます。\n",
    ),
};

static KOREAN: Words = Words {
    one_day: "1일",
    days: "{days}일",
    for_ever: "무기한",
    readings: (
        "측정값을 보관하는 기간이 짧아집니다",
        "조직의 요금제 \"{plan}\"이(가) 새로 적용되었거나 변경되었습니다. 측정값의 보관 기간이 \
         '{before}'에서 '{days}'(으)로 바뀝니다. 그보다 오래된 측정값은 하루 단위로 완전히 파기되지만 \
         {until} 전에는 파기되지 않습니다. 그때까지는 되돌릴 수 있습니다. 문의처: {ask}. 기간에 대한 \
         보존은 그 기간의 측정값을 남겨 둡니다.\n",
    ),
    ledger: (
        "원장 기록을 보관하는 기간이 짧아집니다",
        "조직의 요금제 \"{plan}\"이(가) 새로 적용되었거나 변경되었습니다. 원장이 봉인한 기록을 열 수 있는 \
         기간이 '{before}'에서 '{days}'(으)로 바뀝니다. 그보다 오래된 기록은 하루 단위로 완전히 \
         파기되지만 {until} 전에는 파기되지 않습니다. 그때까지는 되돌릴 수 있습니다. 문의처: {ask}. \
         기간에 대한 보존은 그 기간에 봉인된 기록을 남겨 둡니다. 원장의 항목은 남으며 이전과 같이 \
         증명됩니다.\n",
    ),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_says_what_is_kept_for_less_time() {
        let until = Timestamp::parse_rfc3339("2026-12-06T01:44:00Z").expect("a time");
        let said =
            Shortened { plan: "Small {ask}", ask: "\"Nord\"", days: (Some(30), None), until };
        for language in Language::ALL {
            let mut texts = Vec::new();
            for kept in Kept::ALL {
                let (subject, text) = kept.mail(language, &said);
                for part in ["30", "Small {ask}", "\"Nord\"", "2026"] {
                    assert!(text.contains(part), "{part}: {text}");
                }
                assert!(text.contains(Words::of(language).for_ever), "{text}");
                assert_eq!(subject.is_ascii(), language == Language::English);
                texts.push((subject, text));
            }
            assert_ne!(texts[0], texts[1]);
        }
        assert_eq!(Kept::Readings.mail_name(Some(1)), "retention 1 day");
        assert_eq!(Kept::Ledger.mail_name(None), "audit without an end");
    }
}
