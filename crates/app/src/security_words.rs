//! What those who answer for an organisation are told of its security, in each language of the
//! product. What was found stands in the platform, behind a sign-in; no mail repeats it.

use veritwin_access::Finding;
use veritwin_governance::Language;

use crate::languages::in_language;

/// A subject and a text, for whoever reads a language.
pub(crate) type Say<'a> = &'a (dyn Fn(Language) -> (String, String) + Send + Sync);

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecurityMail {
    /// Anomalous access, or another finding of weight.
    Found(Finding),
    /// The tenant's key service does not answer.
    KeySilent,
    /// It refuses the key.
    KeyRefused,
    /// The key is gone for ever.
    KeyDestroyed,
    /// Support entered without being asked.
    BreakGlass,
}

impl SecurityMail {
    /// Subject and text of a mail.
    pub(crate) fn say(self, language: Language) -> (String, String) {
        let words = Words::of(language);
        let (subject, text) = match self {
            Self::Found(kind) => (title(language, kind), words.found),
            Self::KeySilent => words.key_silent,
            Self::KeyRefused => words.key_refused,
            Self::KeyDestroyed => words.key_destroyed,
            Self::BreakGlass => words.break_glass,
        };
        (subject.to_owned(), text.to_owned())
    }
}

/// What a finding is called.
pub(crate) const fn title(language: Language, kind: Finding) -> &'static str {
    in_language(language, titles(kind))
}

/// The titles of a finding: English, Traditional Chinese, Japanese, Korean.
const fn titles(kind: Finding) -> [&'static str; 4] {
    match kind {
        Finding::CredentialStuffing => [
            "Many sign-ins fail from one address",
            "同一位址有許多登入失敗",
            "同じアドレスから多くのサインインが失敗しています",
            "한 주소에서 많은 로그인이 실패하고 있습니다",
        ],
        Finding::ImpossibleTravel => [
            "Sign-ins further apart than anybody travels",
            "兩次登入的距離超過任何人所能移動的範圍",
            "移動できないほど離れた場所からのサインイン",
            "이동할 수 없을 만큼 멀리 떨어진 곳에서의 로그인",
        ],
        Finding::NewDevice => [
            "Sign-in with a new device from a new network",
            "從新的網路以新的裝置登入",
            "新しいネットワークから新しい端末でのサインイン",
            "새 네트워크에서 새 기기로 로그인했습니다",
        ],
        Finding::BulkExport => [
            "Very much data taken away",
            "有大量資料被取走",
            "非常に多くのデータが持ち出されました",
            "매우 많은 데이터가 반출되었습니다",
        ],
        Finding::DeniedSpike => [
            "Many refusals of one actor",
            "同一操作者多次遭到拒絕",
            "同じ操作者が何度も拒否されています",
            "한 행위자가 여러 번 거부되었습니다",
        ],
        Finding::RefusedKeys => [
            "Many refused API keys from one address",
            "同一位址有許多 API 金鑰遭到拒絕",
            "同じアドレスから多くのAPIキーが拒否されています",
            "한 주소에서 많은 API 키가 거부되었습니다",
        ],
        Finding::OddHours => [
            "Sign-in at an unusual hour",
            "在不尋常的時間登入",
            "普段とは異なる時間帯のサインイン",
            "평소와 다른 시간의 로그인",
        ],
        Finding::CertificatesEnding => [
            "Certificates of devices end soon",
            "裝置的憑證即將到期",
            "機器の証明書の期限が近づいています",
            "장치의 인증서가 곧 만료됩니다",
        ],
        Finding::StorageDamaged => [
            "Stored data does not read back",
            "已儲存的資料無法原樣讀回",
            "保存されたデータが元どおりに読み出せません",
            "저장된 데이터를 그대로 읽을 수 없습니다",
        ],
        Finding::QuotaNear => [
            "Most of what the plan gives is used",
            "方案的額度已大部分用盡",
            "プランの上限の大部分が使われています",
            "요금제 한도의 대부분을 사용했습니다",
        ],
        Finding::PromiseBroken => [
            "A promise of the published policy is not kept",
            "已公布政策中的一項承諾未被遵守",
            "公開されたポリシーの約束が守られていません",
            "공개된 정책의 약속이 지켜지지 않고 있습니다",
        ],
        Finding::MailboxUnread => [
            "The mailbox for requests is not read, or mails are left in it",
            "接收請求的信箱無法讀取，或其中留有郵件",
            "請求用のメールボックスを読み取れないか、メールが残っています",
            "요청용 메일함을 읽을 수 없거나 메일이 남아 있습니다",
        ],
    }
}

/// The words of one language; of what has a subject of its own, subject and text.
struct Words {
    found: &'static str,
    key_silent: (&'static str, &'static str),
    key_refused: (&'static str, &'static str),
    key_destroyed: (&'static str, &'static str),
    break_glass: (&'static str, &'static str),
}

impl Words {
    fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }
}

static ENGLISH: Words = Words {
    found: "A security alert was raised and an incident opened. Sign in and open Incidents to see \
            what was found and what to do.",
    key_silent: (
        "Your key service does not answer",
        "Nothing of your organisation's data can be read until it answers again. What devices \
         send is stored sealed meanwhile, up to a bound.",
    ),
    key_refused: (
        "Your key service refuses the key",
        "Nothing of your organisation's data can be read or written. When the key may be used \
         again, an owner or the security lead says so under Settings, Keys.",
    ),
    key_destroyed: (
        "The key of your organisation's data was destroyed",
        "Your key service says that the key is gone for ever. Nothing that it protected can be \
         opened any more.",
    ),
    break_glass: (
        "Support entered your organisation without your request",
        "Two members of the platform's staff opened read-only access to your organisation because \
         they judged it urgent. Sign in and open Support: it says who, why, what they may see and \
         until when, shows every step, and takes the access back at once.",
    ),
};

static CHINESE: Words = Words {
    found: "已發出一則安全警示並建立一件事件。請登入並開啟「事件」，查看發現的內容與應採取的行動。",
    key_silent: (
        "貴組織的金鑰服務沒有回應",
        "在金鑰服務恢復回應之前，無法讀取貴組織的任何資料。這段期間裝置送出的資料會以密封方式儲存，並有上限。",
    ),
    key_refused: (
        "貴組織的金鑰服務拒絕使用金鑰",
        "目前無法讀取或寫入貴組織的任何資料。金鑰可再次使用時，請由擁有者或資安負責人在「設定」的金鑰處確認。",
    ),
    key_destroyed: (
        "貴組織資料的金鑰已銷毀",
        "貴組織的金鑰服務表示該金鑰已永久消失。由它保護的資料再也無法開啟。",
    ),
    break_glass: (
        "支援人員未經貴組織要求而進入貴組織",
        "平台的兩位人員判斷情況緊急，開啟了對貴組織的唯讀存取。請登入並開啟「支援人員」：\
         該處說明是誰、原因、可查看的範圍與期限，列出每個步驟，並可立即收回存取權。",
    ),
};

static JAPANESE: Words = Words {
    found: "セキュリティアラートが出され、インシデントが開かれました。サインインして「インシデント」を開き、\
            見つかった内容とすべきことをご確認ください。",
    key_silent: (
        "貴組織の鍵サービスが応答しません",
        "鍵サービスが再び応答するまで、貴組織のデータは一切読み出せません。その間に機器が送ったデータは、\
         上限の範囲で封印したまま保存されます。",
    ),
    key_refused: (
        "貴組織の鍵サービスが鍵の使用を拒否しています",
        "貴組織のデータは読み書きできません。鍵を再び使えるようになりましたら、所有者またはセキュリティ責任者が\
         「設定」の鍵の欄でお知らせください。",
    ),
    key_destroyed: (
        "貴組織のデータの鍵が破棄されました",
        "貴組織の鍵サービスによると、鍵は永久に失われました。その鍵で守られていたものは、もう開けません。",
    ),
    break_glass: (
        "サポートがご依頼なしに貴組織に入りました",
        "プラットフォームの担当者2名が緊急と判断し、貴組織への読み取り専用のアクセスを開きました。サインインして\
         「サポート」を開いてください。誰が、なぜ、何をいつまで見られるか、各操作が示され、アクセスをすぐに\
         取り消せます。",
    ),
};

static KOREAN: Words = Words {
    found: "보안 경보가 발생하여 사고가 등록되었습니다. 로그인하여 '사고'를 열고 발견된 내용과 할 일을 \
            확인하십시오.",
    key_silent: (
        "조직의 키 서비스가 응답하지 않습니다",
        "다시 응답할 때까지 조직의 데이터를 전혀 읽을 수 없습니다. 그동안 장치가 보낸 데이터는 한도 안에서 \
         봉인된 채 저장됩니다.",
    ),
    key_refused: (
        "조직의 키 서비스가 키 사용을 거부합니다",
        "조직의 데이터를 읽거나 쓸 수 없습니다. 키를 다시 사용할 수 있게 되면 소유자나 보안 책임자가 '설정'의 \
         키 항목에서 알려 주십시오.",
    ),
    key_destroyed: (
        "조직 데이터의 키가 파기되었습니다",
        "조직의 키 서비스에 따르면 키가 영구히 사라졌습니다. 그 키로 보호되던 것은 더 이상 열 수 없습니다.",
    ),
    break_glass: (
        "지원 담당자가 요청 없이 조직에 들어왔습니다",
        "플랫폼 직원 두 명이 긴급하다고 판단하여 조직에 대한 읽기 전용 접근을 열었습니다. 로그인하여 '지원 \
         담당자'를 여십시오. 누가, 왜, 무엇을 언제까지 볼 수 있는지와 모든 단계가 표시되며, 접근을 즉시 \
         회수할 수 있습니다.",
    ),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_says_each_thing_in_words_of_its_own() {
        let others = [
            SecurityMail::KeySilent,
            SecurityMail::KeyRefused,
            SecurityMail::KeyDestroyed,
            SecurityMail::BreakGlass,
        ];
        let all = || Finding::ALL.map(SecurityMail::Found).into_iter().chain(others);
        let mut subjects = Vec::new();
        for language in Language::ALL {
            for mail in all() {
                let (subject, text) = mail.say(language);
                assert!(!subject.is_empty() && !text.is_empty(), "{language:?} {mail:?}");
                assert_eq!(subject.is_ascii(), language == Language::English, "{subject}");
                subjects.push(subject);
            }
        }
        let said = subjects.len();
        subjects.sort();
        subjects.dedup();
        assert_eq!(subjects.len(), said);
    }
}
