//! What a letter about an erasure says of the stores in which something stays, in each language but
//! English: of that the stores themselves have the words.

use veritwin_governance::Language;

/// A store's name in copies, what it is called, and why something of it stays.
type Stays = (&'static str, &'static str, &'static str);

/// What a store is called in a language, and why something of it stays; none in English, and of a
/// store in which nothing does.
pub(super) fn stay_words(language: Language, store: &str) -> Option<(&'static str, &'static str)> {
    let all = match language {
        Language::English => return None,
        Language::ChineseTraditional => &CHINESE,
        Language::Japanese => &JAPANESE,
        Language::Korean => &KOREAN,
    };
    all.iter().find(|(name, ..)| *name == store).map(|(_, called, why)| (*called, *why))
}

const CHINESE: [Stays; 9] = [
    (
        "records",
        "操作紀錄",
        "所做之事保留 90 天，或至保全令結束，但不含來源；其中的編號不再代表任何人",
    ),
    ("acts", "警示與事件上的動作", "這是該組織的紀錄：其中的編號不再代表任何人"),
    ("requests", "請求", "刪除後請求不再指名任何人，並保留兩年"),
    (
        "consents",
        "同意",
        "欄位、通知與待寄訊息隨帳戶刪除；所同意的內容留作證明：其中的編號不再代表任何人",
    ),
    (
        "registers",
        "登記簿",
        "以此地址提供的資料會刪除；登記項目屬於該組織，其中的編號不再代表任何人",
    ),
    ("declarations", "裝置的歸屬", "姓名會移除；所聲明的內容仍屬於該組織"),
    ("ledger", "帳本", "至稽核期間結束為止；其中沒有任何項目指名個人"),
    ("backups", "備份", "先前的副本保留至備份期限；任何由其還原的內容，會在接受連線之前再次刪除"),
    (
        "readings",
        "讀數",
        "帳本所封存的內容、警示、傳送中的訊息、並非其本人專屬之裝置的屬性與保留訊息，以及先前匯出的檔案",
    ),
];

const JAPANESE: [Stays; 9] = [
    (
        "records",
        "操作の記録",
        "行われたことは90日間、または保全の間、発信元なしで残ります。記録内の番号は誰も指しません",
    ),
    ("acts", "警報とインシデントへの操作", "組織の記録であり、記録内の番号は誰も指しません"),
    ("requests", "請求", "消去後は誰の名も含まず、2年間保存されます"),
    (
        "consents",
        "同意",
        "項目、通知、送信待ちのメッセージはアカウントとともに消えます。\
         同意の内容は証拠として残り、番号は誰も指しません",
    ),
    (
        "registers",
        "台帳の登録",
        "アドレスとともに届け出られた内容は消えます。登録は組織のものであり、番号は誰も指しません",
    ),
    ("declarations", "機器の持ち主", "名前は消えます。宣言された内容は組織のものとして残ります"),
    ("ledger", "監査台帳", "監査期間の終わりまで残ります。個人の名を含む項目はありません"),
    (
        "backups",
        "バックアップ",
        "以前の写しはバックアップの期間だけ残ります。復元されたものは、\
         接続を受け付ける前に再び消去されます",
    ),
    (
        "readings",
        "測定値",
        "監査台帳に封印されたもの、警報、送信中のメッセージ、\
         本人だけのものではない機器の属性と保持メッセージ、以前に書き出されたファイル",
    ),
];

const KOREAN: [Stays; 9] = [
    (
        "records",
        "활동 기록",
        "수행된 일은 90일 동안, 또는 보존 조치가 끝날 때까지 출처 없이 남습니다. \
         기록 속 번호는 누구도 가리키지 않습니다",
    ),
    ("acts", "경보와 사고에 대한 조치", "조직의 기록이며 기록 속 번호는 누구도 가리키지 않습니다"),
    ("requests", "요청", "삭제 후에는 누구의 이름도 담지 않으며 2년 동안 보관됩니다"),
    (
        "consents",
        "동의",
        "항목, 알림, 대기 중인 메시지는 계정과 함께 삭제됩니다. 동의한 내용은 증거로 남으며 \
         번호는 누구도 가리키지 않습니다",
    ),
    (
        "registers",
        "등록부",
        "주소와 함께 제공된 내용은 삭제됩니다. 등록 항목은 조직의 것이며 번호는 누구도 \
         가리키지 않습니다",
    ),
    ("declarations", "기기의 소유", "이름은 삭제됩니다. 선언된 내용은 조직의 것으로 남습니다"),
    ("ledger", "원장", "감사 기간이 끝날 때까지 남습니다. 사람의 이름을 담은 항목은 없습니다"),
    (
        "backups",
        "백업",
        "이전 사본은 백업 기간 동안 남습니다. 복원된 것은 연결을 받기 전에 다시 삭제됩니다",
    ),
    (
        "readings",
        "측정값",
        "원장에 봉인된 것, 경보, 전송 중인 메시지, 본인만의 것이 아닌 기기의 속성과 보유 메시지, \
         이전에 내보낸 파일",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::{Eraser, STORES};

    #[test]
    fn whatever_stays_has_words_in_each_language() {
        let may_stay = |eraser: Eraser| {
            !matches!(
                eraser,
                Eraser::Account
                    | Eraser::SignIn
                    | Eraser::Rules
                    | Eraser::Mails
                    | Eraser::Messages
                    | Eraser::Devices
                    | Eraser::Nothing
            )
        };
        for language in Language::ALL {
            for store in STORES.iter().filter(|store| may_stay(store.eraser)) {
                let has_words = stay_words(language, store.name).is_some();
                assert_eq!(has_words, language != Language::English, "{}", store.name);
            }
        }
    }
}
