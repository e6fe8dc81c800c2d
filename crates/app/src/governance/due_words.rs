//! What mails about the workspace say, in each language of the product: what kind of thing is due,
//! and where it stands. Nothing of the thing itself is in them.

use veritwin_governance::Language;

use super::breach_owed::Owed;
use crate::languages::{filled, in_language};

/// What comes due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// A policy has to be looked at again.
    PolicyReview,
    /// The acceptance of a risk has ended.
    AcceptanceEnded,
    /// A risk has to be looked at again.
    RiskReview,
    /// A task is late.
    TaskLate,
    /// A certificate has expired.
    CertificateExpired,
    /// A certificate ends within 60 days.
    CertificateEnds,
    /// A piece of evidence has expired.
    EvidenceExpired,
    /// So many of a breach's 72 hours are over.
    Breach(u64),
    /// The people whom a breach concerns have not been told.
    BreachSubjects,
    /// The final notice of a breach is not out.
    BreachFinal,
}

/// The hours after which the authority has to have been told.
const BREACH_HOURS: u64 = 72;

/// The words of one language.
struct Words {
    policy_review: &'static str,
    acceptance_ended: &'static str,
    risk_review: &'static str,
    task_late: &'static str,
    certificate_expired: &'static str,
    certificate_ends: &'static str,
    evidence_expired: &'static str,
    breach: &'static str,
    breach_over: &'static str,
    breach_subjects: &'static str,
    breach_final: &'static str,
    text: &'static str,
    breach_text: &'static str,
}

impl Words {
    fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }
}

impl Due {
    /// An alarm of a breach at an hour of its clock.
    pub(super) const fn of_breach(owed: Owed, hours: u64) -> Self {
        match owed {
            Owed::First => Self::Breach(hours),
            Owed::Subjects => Self::BreachSubjects,
            Owed::Final => Self::BreachFinal,
        }
    }

    /// Whether it is an alarm of a breach.
    pub(super) const fn is_breach(self) -> bool {
        matches!(self, Self::Breach(_) | Self::BreachSubjects | Self::BreachFinal)
    }

    /// Subject and text of a mail.
    pub(super) fn mail(self, language: Language) -> (String, &'static str) {
        let words = Words::of(language);
        let subject = match self {
            Self::PolicyReview => words.policy_review,
            Self::AcceptanceEnded => words.acceptance_ended,
            Self::RiskReview => words.risk_review,
            Self::TaskLate => words.task_late,
            Self::CertificateExpired => words.certificate_expired,
            Self::CertificateEnds => words.certificate_ends,
            Self::EvidenceExpired => words.evidence_expired,
            Self::BreachSubjects => words.breach_subjects,
            Self::BreachFinal => words.breach_final,
            Self::Breach(hours) if hours >= BREACH_HOURS => words.breach_over,
            Self::Breach(hours) => {
                let hours = hours.to_string();
                let subject = filled(words.breach, &[("hours", hours.as_str())]);
                return (subject, words.breach_text);
            }
        };
        let text = if self.is_breach() { words.breach_text } else { words.text };
        (subject.to_owned(), text)
    }
}

static ENGLISH: Words = Words {
    policy_review: "A policy has to be looked at again",
    acceptance_ended: "The acceptance of a risk has ended",
    risk_review: "A risk has to be looked at again",
    task_late: "A task is late",
    certificate_expired: "A certificate has expired",
    certificate_ends: "A certificate ends within 60 days",
    evidence_expired: "A piece of evidence has expired",
    breach: "Breach: {hours} of 72 hours are over, and nobody was told",
    breach_over: "Breach: the 72 hours are over, and nobody was told",
    breach_subjects: "Breach: the people concerned have not been told of a high risk",
    breach_final: "Breach: the final notice has not been sent",
    text: "Sign in and open Governance to see what it is and what to do.",
    breach_text: "Sign in and open Breaches: what is known, what is still missing, and the time \
                  that is left stand there.",
};

static CHINESE: Words = Words {
    policy_review: "有一項政策需要重新檢視",
    acceptance_ended: "一項風險的接受期限已結束",
    risk_review: "有一項風險需要重新檢視",
    task_late: "有一項任務逾期",
    certificate_expired: "有一份證書已到期",
    certificate_ends: "有一份證書將於 60 天內到期",
    evidence_expired: "有一項證據已到期",
    breach: "個資外洩：72 小時中已過 {hours} 小時，尚未通報任何人",
    breach_over: "個資外洩：72 小時已過，尚未通報任何人",
    breach_subjects: "個資外洩：風險高，但尚未通知當事人",
    breach_final: "個資外洩：尚未寄出最終通知",
    text: "請登入並開啟「治理」，查看內容與應採取的行動。",
    breach_text: "請登入並開啟「個資外洩」：已知的內容、尚缺的內容與剩餘時間都在該處。",
};

static JAPANESE: Words = Words {
    policy_review: "見直しが必要なポリシーがあります",
    acceptance_ended: "リスクの受容期限が終わりました",
    risk_review: "見直しが必要なリスクがあります",
    task_late: "期限を過ぎたタスクがあります",
    certificate_expired: "認証書の期限が切れました",
    certificate_ends: "60日以内に期限が切れる認証書があります",
    evidence_expired: "証跡の期限が切れました",
    breach: "個人データ侵害：72時間のうち{hours}時間が過ぎ、まだ誰にも通知されていません",
    breach_over: "個人データ侵害：72時間が過ぎ、まだ誰にも通知されていません",
    breach_subjects: "個人データ侵害：リスクが高いのに、本人にまだ通知されていません",
    breach_final: "個人データ侵害：最終の通知がまだ送られていません",
    text: "サインインして「ガバナンス」を開き、内容とすべきことをご確認ください。",
    breach_text: "サインインして「個人データ侵害」を開いてください。わかっていること、不足していること、\
                  残り時間が表示されます。",
};

static KOREAN: Words = Words {
    policy_review: "다시 검토해야 할 정책이 있습니다",
    acceptance_ended: "위험의 수용 기간이 끝났습니다",
    risk_review: "다시 검토해야 할 위험이 있습니다",
    task_late: "기한이 지난 작업이 있습니다",
    certificate_expired: "인증서가 만료되었습니다",
    certificate_ends: "60일 안에 만료되는 인증서가 있습니다",
    evidence_expired: "증거가 만료되었습니다",
    breach: "개인정보 침해: 72시간 중 {hours}시간이 지났으며 아직 아무에게도 알리지 않았습니다",
    breach_over: "개인정보 침해: 72시간이 지났으며 아직 아무에게도 알리지 않았습니다",
    breach_subjects: "개인정보 침해: 위험이 높은데도 정보주체에게 아직 알리지 않았습니다",
    breach_final: "개인정보 침해: 최종 통지를 아직 보내지 않았습니다",
    text: "로그인하여 거버넌스를 열고 내용과 할 일을 확인하십시오.",
    breach_text: "로그인하여 개인정보 침해를 여십시오. 알려진 것, 아직 빠진 것, 남은 시간이 표시됩니다.",
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_says_what_is_due() {
        let all = [
            Due::PolicyReview,
            Due::AcceptanceEnded,
            Due::RiskReview,
            Due::TaskLate,
            Due::CertificateExpired,
            Due::CertificateEnds,
            Due::EvidenceExpired,
            Due::Breach(24),
            Due::Breach(72),
            Due::BreachSubjects,
            Due::BreachFinal,
        ];
        for language in Language::ALL {
            let mut subjects = Vec::new();
            for due in all {
                let (subject, text) = due.mail(language);
                assert!(!subject.contains('{') && !text.is_empty(), "{language:?}: {subject}");
                subjects.push(subject);
            }
            assert!(subjects[7].contains("24"), "{}", subjects[7]);
            subjects.sort();
            subjects.dedup();
            assert_eq!(subjects.len(), all.len(), "{language:?}");
        }
    }
}
