//! The words of notices of a breach, in each language of the product. What the officer wrote, and
//! what the registers name, stands in them as it was written.

use veritwin_domain::Timestamp;
use veritwin_governance::Language;

use super::breach_notice::{PHASES, TO};
use super::breaches::{GROUNDS, RISKS};
use crate::languages::{Worded, filled, in_language, moment_in};
use crate::model::BreachContent;

/// The words of one language.
struct Words {
    /// What follows a name of what is said.
    colon: &'static str,
    subject: &'static str,
    /// In the order of [`TO`].
    headings: [&'static str; 3],
    from: &'static str,
    /// In the order of [`PHASES`].
    phases: [&'static str; 3],
    nature: &'static str,
    aware: &'static str,
    people: &'static str,
    records: &'static str,
    unknown: &'static str,
    holders: &'static str,
    places: &'static str,
    consequences: &'static str,
    measures: &'static str,
    contact: &'static str,
    risk: &'static str,
    /// In the order of [`RISKS`].
    risks: [&'static str; 4],
    risk_reason: &'static str,
    not_told: &'static str,
    /// In the order of [`GROUNDS`].
    grounds: [&'static str; 3],
    public_notice: &'static str,
    late_reason: &'static str,
}

impl Words {
    fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }
}

/// The word for a name of a closed list; none for what is not on it.
fn word_for<const N: usize>(
    name: &str,
    names: &[&str; N],
    words: [&'static str; N],
) -> &'static str {
    let place = names.iter().position(|known| *known == name);
    place.map_or("", |place| words[place])
}

/// A notice as it is about to be sent.
pub(super) struct Notice<'a> {
    pub(super) content: &'a BreachContent,
    pub(super) to: &'a str,
    pub(super) phase: &'a str,
    /// The name of the organisation that tells.
    pub(super) from: &'a str,
    pub(super) at: Timestamp,
}

impl Notice<'_> {
    /// What it says: to the people concerned in every language, the one that was picked first; to
    /// everybody else in that one.
    pub(super) fn mails(&self, picked: Language) -> Vec<Worded> {
        let is_read_by_anybody = self.to == "subjects";
        let others = Language::ALL.into_iter().filter(|one| is_read_by_anybody && *one != picked);
        std::iter::once(picked).chain(others).map(|language| self.mail(language)).collect()
    }

    fn mail(&self, language: Language) -> Worded {
        let (words, content) = (Words::of(language), self.content);
        let mut lines = vec![self.heading(language), (words.nature, content.nature.clone())];
        let is_subjects = self.to == "subjects";
        if !is_subjects {
            let aware_at = content.aware_at.map(|at| moment_in(language, at));
            let number = |value: Option<u64>| {
                value.map_or_else(|| words.unknown.to_owned(), |number| number.to_string())
            };
            lines.extend([
                (words.aware, aware_at.unwrap_or_default()),
                (words.people, number(content.subjects)),
                (words.records, number(content.records)),
            ]);
        }
        lines.extend([
            (words.holders, content.recipients.join("\n")),
            (words.places, content.regions.join(", ")),
            (words.consequences, content.consequences.clone()),
            (words.measures, content.measures.clone()),
            (words.contact, content.contact.clone()),
        ]);
        if self.to == "authority" {
            lines.extend(self.risk(words));
        }
        if !is_subjects {
            lines.push((words.late_reason, content.late_reason.clone()));
        }
        let mut text = String::new();
        for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
            text.extend([*name, words.colon, "\n", value.as_str(), "\n\n"]);
        }
        let subject = filled(words.subject, &[("title", content.title.as_str())]);
        (language, subject, text)
    }

    /// What it is, from whom, and when.
    fn heading(&self, language: Language) -> (&'static str, String) {
        let words = Words::of(language);
        let at = moment_in(language, self.at);
        let phase = word_for(self.phase, &PHASES, words.phases);
        let said = [("from", self.from), ("at", at.as_str()), ("phase", phase)];
        (word_for(self.to, &TO, words.headings), filled(words.from, &said))
    }

    /// How high the risk is, and on which ground people are not told of a high one.
    fn risk(&self, words: &Words) -> Vec<(&'static str, String)> {
        let content = self.content;
        let risk = word_for(&content.risk, &RISKS, words.risks);
        let mut lines =
            vec![(words.risk, risk.to_owned()), (words.risk_reason, content.risk_reason.clone())];
        let ground = word_for(&content.not_told_ground, &GROUNDS, words.grounds);
        if content.risk == "high" && !ground.is_empty() {
            let why = format!("{ground}\n{}", content.why_not_subjects);
            lines.push((words.not_told, why));
            lines.push((words.public_notice, content.public_notice.clone()));
        }
        lines
    }
}

static ENGLISH: Words = Words {
    colon: ":",
    subject: "Personal data breach: {title}",
    headings: [
        "Notification of a personal data breach (Article 33 of the GDPR)",
        "Notice of a personal data breach that concerns you",
        "Notice of a personal data breach to the controller (Article 33(2) of the GDPR)",
    ],
    from: "{from}, {at}, {phase}",
    phases: ["first notice", "further notice", "final notice"],
    nature: "What happened",
    aware: "Aware since",
    people: "People concerned, about",
    records: "Records concerned, about",
    unknown: "not known yet; it will follow",
    holders: "Who had the data",
    places: "Where it was",
    consequences: "Likely consequences",
    measures: "Measures taken and proposed",
    contact: "Contact",
    risk: "Risk for the people concerned",
    risks: ["not known yet", "unlikely", "a risk", "a high risk"],
    risk_reason: "Reasons for that",
    not_told: "Why the people concerned are not told",
    grounds: [
        "The data is protected so that nobody who is not authorised can read it (Article \
         34(3)(a) of the GDPR).",
        "Measures taken since make sure that the high risk is no longer likely (Article 34(3)(b) \
         of the GDPR).",
        "It would take disproportionate effort; the public is told in their place (Article \
         34(3)(c) of the GDPR).",
    ],
    public_notice: "Where the public is told",
    late_reason: "Reasons for the delay",
};

static CHINESE: Words = Words {
    colon: "：",
    subject: "個資外洩：{title}",
    headings: [
        "個資外洩通報（GDPR 第 33 條）",
        "與您有關的個資外洩通知",
        "致控管者的個資外洩通知（GDPR 第 33(2) 條）",
    ],
    from: "{from}，{at}，{phase}",
    phases: ["首次通知", "後續通知", "最終通知"],
    nature: "事件經過",
    aware: "知悉時間",
    people: "受影響人數（約）",
    records: "受影響紀錄數（約）",
    unknown: "尚不清楚，將於後續補充",
    holders: "持有資料者",
    places: "資料所在地",
    consequences: "可能後果",
    measures: "已採取與擬採取的措施",
    contact: "聯絡窗口",
    risk: "對當事人的風險",
    risks: ["尚不清楚", "不太可能有風險", "有風險", "高風險"],
    risk_reason: "如此評估的理由",
    not_told: "不通知當事人的理由",
    grounds: [
        "資料受到保護，未獲授權者無法讀取（GDPR 第 34(3)(a) 條）。",
        "事後採取的措施已確保高風險不再可能發生（GDPR 第 34(3)(b) 條）。",
        "逐一通知需付出不成比例的努力，故改以公告周知（GDPR 第 34(3)(c) 條）。",
    ],
    public_notice: "公告之處",
    late_reason: "延遲的理由",
};

static JAPANESE: Words = Words {
    colon: "：",
    subject: "個人データ侵害：{title}",
    headings: [
        "個人データ侵害の届出（GDPR第33条）",
        "あなたに関わる個人データ侵害のお知らせ",
        "管理者への個人データ侵害の通知（GDPR第33条第2項）",
    ],
    from: "{from}、{at}、{phase}",
    phases: ["最初の通知", "追加の通知", "最終の通知"],
    nature: "発生した事象",
    aware: "認識した日時",
    people: "影響を受ける人のおおよその数",
    records: "影響を受ける記録のおおよその数",
    unknown: "まだわかっていません。追ってお知らせします",
    holders: "データを保有していた者",
    places: "データの所在地",
    consequences: "起こりうる影響",
    measures: "実施および予定の措置",
    contact: "問い合わせ先",
    risk: "本人に対するリスク",
    risks: ["まだわかっていません", "生じる可能性は低い", "リスクがある", "高いリスクがある"],
    risk_reason: "そのように判断した理由",
    not_told: "本人に通知しない理由",
    grounds: [
        "データは、権限のない者には読めないように保護されています（GDPR第34条第3項(a)）。",
        "事後の措置により、高いリスクが現実となるおそれはなくなりました（GDPR第34条第3項(b)）。",
        "個別の通知には過大な負担がかかるため、公表をもって代えます（GDPR第34条第3項(c)）。",
    ],
    public_notice: "公表の場所",
    late_reason: "遅れた理由",
};

static KOREAN: Words = Words {
    colon: ":",
    subject: "개인정보 침해: {title}",
    headings: [
        "개인정보 침해 신고(GDPR 제33조)",
        "귀하와 관련된 개인정보 침해에 대한 알림",
        "컨트롤러에 대한 개인정보 침해 통지(GDPR 제33조 제2항)",
    ],
    from: "{from}, {at}, {phase}",
    phases: ["최초 통지", "추가 통지", "최종 통지"],
    nature: "발생한 일",
    aware: "인지한 시점",
    people: "관련된 사람의 대략적인 수",
    records: "관련된 기록의 대략적인 수",
    unknown: "아직 알 수 없으며, 추후 알려 드리겠습니다",
    holders: "데이터를 보유한 자",
    places: "데이터가 있던 곳",
    consequences: "예상되는 결과",
    measures: "시행 및 제안된 조치",
    contact: "문의처",
    risk: "정보주체에 대한 위험",
    risks: ["아직 알 수 없음", "가능성이 낮음", "위험 있음", "높은 위험"],
    risk_reason: "그렇게 판단한 이유",
    not_told: "정보주체에게 알리지 않는 이유",
    grounds: [
        "권한 없는 사람이 읽을 수 없도록 데이터가 보호되어 있습니다(GDPR 제34조 제3항 (a)).",
        "사후 조치로 높은 위험이 더 이상 실현될 가능성이 없습니다(GDPR 제34조 제3항 (b)).",
        "개별 통지에 과도한 노력이 들어 공개적으로 알리는 것으로 대신합니다(GDPR 제34조 제3항 (c)).",
    ],
    public_notice: "공개적으로 알린 곳",
    late_reason: "지연된 이유",
};

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> BreachContent {
        BreachContent {
            title: "Lost list".to_owned(),
            nature: "A list was published".to_owned(),
            consequences: "Unwanted mail".to_owned(),
            measures: "Taken down".to_owned(),
            contact: "privacy@customer.example".to_owned(),
            subjects: Some(12),
            risk: "high".to_owned(),
            risk_reason: "Passwords were in clear".to_owned(),
            ..BreachContent::default()
        }
    }

    fn notice<'a>(content: &'a BreachContent, to: &'a str, phase: &'a str) -> Notice<'a> {
        Notice { content, to, phase, from: "Customer", at: Timestamp::from_micros(0) }
    }

    #[test]
    fn a_notice_to_people_holds_what_concerns_them() {
        let content = content();
        let (_, _, people) = notice(&content, "subjects", "first").mail(Language::English);
        assert!(people.contains("A list was published") && !people.contains("12"), "{people}");
        let (_, subject, text) = notice(&content, "authority", "first").mail(Language::English);
        assert_eq!(subject, "Personal data breach: Lost list");
        assert!(text.contains("about:\n12\n") && text.contains("not known yet"), "{text}");
        assert!(text.contains("Customer, 1 January 1970, 00:00 UTC, first notice"), "{text}");
    }

    #[test]
    fn the_authority_reads_on_which_ground_people_are_not_told() {
        let mut content = content();
        let text = |content: &BreachContent| {
            notice(content, "authority", "final").mail(Language::English).2
        };
        assert!(text(&content).contains("Reasons for that:\nPasswords were in clear"));
        assert!(!text(&content).contains("Why the people concerned are not told"));
        content.not_told_ground = "disproportionate".to_owned();
        content.why_not_subjects = "Ten million addresses".to_owned();
        content.public_notice = "https://customer.example/notice".to_owned();
        let told = text(&content);
        for said in ["34(3)(c)", "Ten million addresses", "told:\nhttps://customer.example/notice"]
        {
            assert!(told.contains(said), "{said}: {told}");
        }
    }

    #[test]
    fn people_read_it_in_every_language_and_others_in_the_one_that_was_picked() {
        let content = content();
        let languages = |to: &str| -> Vec<Language> {
            let mails = notice(&content, to, "final").mails(Language::Japanese);
            mails.into_iter().map(|(language, ..)| language).collect()
        };
        assert_eq!(languages("authority"), [Language::Japanese]);
        assert_eq!(languages("controllers"), [Language::Japanese]);
        let people = languages("subjects");
        assert_eq!((people[0], people.len()), (Language::Japanese, Language::ALL.len()));
    }

    #[test]
    fn each_language_says_everything_and_leaves_what_was_written() {
        let mut content = content();
        content.not_told_ground = "protected".to_owned();
        content.why_not_subjects = "The key is safe".to_owned();
        content.late_reason = "It was found late".to_owned();
        let english = Words::of(Language::English);
        for language in Language::ALL {
            let words = Words::of(language);
            for to in TO {
                for phase in PHASES {
                    let (_, subject, text) = notice(&content, to, phase).mail(language);
                    assert!(subject.ends_with(" Lost list") || subject.ends_with("：Lost list"));
                    assert!(text.contains("A list was published"), "{text}");
                    assert!(text.contains(word_for(to, &TO, words.headings)), "{text}");
                    assert!(text.contains(word_for(phase, &PHASES, words.phases)), "{text}");
                    assert!(!text.contains('{') && !subject.contains('{'), "{subject}: {text}");
                    let holds_english = text.contains(english.nature);
                    assert_eq!(holds_english, language == Language::English, "{text}");
                }
            }
            let (_, _, text) = notice(&content, "authority", "final").mail(language);
            for said in [words.risks[3], words.grounds[0], "The key is safe", words.late_reason] {
                assert!(text.contains(said), "{said}: {text}");
            }
        }
    }
}
