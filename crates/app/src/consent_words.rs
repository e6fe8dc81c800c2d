//! The words of receipts of consents and of notices of a change of the texts, in each language of
//! the product. What is said stands in them as `{name}`.

use veritwin_governance::Language;

use crate::languages::in_language;

/// The words of one language.
pub(crate) struct ConsentWords {
    pub(crate) receipt: (&'static str, &'static str),
    pub(crate) notice: (&'static str, &'static str),
}

impl ConsentWords {
    pub(crate) fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }
}

static ENGLISH: ConsentWords = ConsentWords {
    receipt: (
        "You agreed: {title}",
        "At {at} you agreed to this, version {version}:\n\n{text}\n\nYou can take it back at any \
         time: in your settings, or here, without signing in:\n{link}\n\nYou can also answer this \
         mail: somebody reads it and records what you say.",
    ),
    notice: (
        "A change of the privacy policy and terms on {date}",
        "On {date} version {version} of the privacy policy and of the texts beside it takes \
         effect.\n\n{summary}\n\nRead them here: {link}\n\nUsing the service after that day \
         accepts the terms. It is never a consent to a new purpose: for that you are asked.",
    ),
};

static CHINESE: ConsentWords = ConsentWords {
    receipt: (
        "您已同意：{title}",
        "您於 {at} 同意下列內容，第 {version} 版：\n\n{text}\n\n您可隨時撤回：在您的設定中，\
         或在此處（無須登入）：\n{link}\n\n您也可以回覆此信：會有人閱讀並記錄您的意思。",
    ),
    notice: (
        "隱私權政策與條款將於 {date} 變更",
        "隱私權政策及相關文件第 {version} 版將於 {date} 生效。\n\n{summary}\n\n請在此閱讀：\
         {link}\n\n自該日起使用本服務即表示接受條款。這絕不構成對新目的的同意：我們會另行詢問您。",
    ),
};

static JAPANESE: ConsentWords = ConsentWords {
    receipt: (
        "同意いただきました：{title}",
        "{at}に、次の内容（第{version}版）に同意いただきました。\n\n{text}\n\n\
         同意はいつでも撤回できます。設定から、またはサインインせずにこちらから：\n{link}\n\n\
         このメールへの返信でも撤回できます。担当者が読み、記録します。",
    ),
    notice: (
        "{date}のプライバシーポリシーと規約の変更",
        "{date}に、プライバシーポリシーと関連文書の第{version}版が発効します。\n\n{summary}\n\n\
         こちらでお読みいただけます：{link}\n\n\
         その日以降のサービスのご利用は、規約への同意となります。\
         新しい目的への同意となることは決してなく、その際は改めてお尋ねします。",
    ),
};

static KOREAN: ConsentWords = ConsentWords {
    receipt: (
        "동의하셨습니다: {title}",
        "{at}에 다음 내용({version}판)에 동의하셨습니다.\n\n{text}\n\n동의는 언제든지 철회하실 수 \
         있습니다. 설정에서, 또는 로그인하지 않고 여기에서:\n{link}\n\n이 메일에 답장하셔도 \
         됩니다. 담당자가 읽고 기록합니다.",
    ),
    notice: (
        "{date} 개인정보 처리방침 및 약관 변경",
        "{date}에 개인정보 처리방침과 관련 문서의 {version}판이 시행됩니다.\n\n{summary}\n\n여기에서 \
         읽으실 수 있습니다: {link}\n\n그날 이후 서비스를 이용하시면 약관에 동의하는 것이 됩니다. \
         새로운 목적에 대한 동의가 되는 일은 결코 없으며, 그때는 따로 여쭙습니다.",
    ),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_has_the_same_places() {
        let places = ["{at}", "{version}", "{text}", "{link}"];
        for language in Language::ALL {
            let words = ConsentWords::of(language);
            assert!(words.receipt.0.contains("{title}"));
            assert!(places.iter().all(|place| words.receipt.1.contains(place)), "{language:?}");
            assert!(words.notice.0.contains("{date}"));
            let places = ["{date}", "{version}", "{summary}", "{link}"];
            assert!(places.iter().all(|place| words.notice.1.contains(place)), "{language:?}");
        }
    }
}
