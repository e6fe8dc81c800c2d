//! The words of letters to data subjects, in each language of the product. What is said of a case
//! stands in them as `{name}`.

use veritwin_governance::Language;
use veritwin_metastore::CaseKind;

use crate::languages::in_language;

/// All words of one language.
pub(super) struct Words {
    /// Which right it is, as the letters go on: access, rectification, erasure, restriction,
    /// portability, objection, complaint.
    rights: [&'static str; 7],
    /// Why something is refused, in the order of [`REASONS`].
    reasons: [&'static str; 6],
    pub(super) acknowledgement: (&'static str, &'static str),
    /// In an acknowledgement, while it is not known who asks.
    pub(super) stands: &'static str,
    /// To an address that nobody here is known under: what has to be shown, and until when.
    pub(super) ends: &'static str,
    /// Asks for proof where no code can be mailed.
    pub(super) proof: (&'static str, &'static str),
    /// Beside the reason, where a request has ended without proof: how to go on.
    pub(super) lapsed: &'static str,
    pub(super) code: (&'static str, &'static str),
    pub(super) lifted: (&'static str, &'static str),
    pub(super) extension: (&'static str, &'static str),
    pub(super) refusal: (&'static str, &'static str),
    pub(super) reopened: (&'static str, &'static str),
    pub(super) erased: (&'static str, &'static str),
    /// In a letter about an erasure, where another organisation has the account, too.
    pub(super) elsewhere: &'static str,
    pub(super) answer: (&'static str, &'static str),
    /// In an answer, how the copy is fetched.
    pub(super) fetch: &'static str,
    pub(super) copy_is_here: &'static str,
    pub(super) copy_is_yours: &'static str,
    pub(super) restricted: &'static str,
    pub(super) objected: &'static str,
    pub(super) done: &'static str,
}

/// The names of the reasons for which something may be refused.
pub(super) const REASONS: [&str; 6] =
    ["not_verified", "unfounded", "excessive", "not_held", "legal_duty", "others_rights"];

impl Words {
    pub(super) fn of(language: Language) -> &'static Self {
        in_language(language, [&ENGLISH, &CHINESE, &JAPANESE, &KOREAN])
    }

    /// Which right it is.
    pub(super) const fn right(&self, kind: CaseKind) -> &'static str {
        let [access, rectification, erasure, restriction, portability, objection, complaint] =
            self.rights;
        match kind {
            CaseKind::Access => access,
            CaseKind::Rectification => rectification,
            CaseKind::Erasure => erasure,
            CaseKind::Restriction => restriction,
            CaseKind::Portability => portability,
            CaseKind::Objection => objection,
            CaseKind::Complaint => complaint,
        }
    }

    /// What a letter says of a reason.
    pub(super) fn reason(&self, name: &str) -> Option<&'static str> {
        let known = REASONS.into_iter().zip(self.reasons);
        known.into_iter().find(|(known, _)| *known == name).map(|(_, text)| text)
    }
}

static ENGLISH: Words = Words {
    rights: [
        "a copy of your data",
        "the correction of your data",
        "the erasure of your data",
        "the restriction of what is done with your data",
        "a copy of your data that other programs read",
        "that a use of your data stops",
        "that we look into your complaint",
    ],
    reasons: [
        "we could not make sure that the request comes from you (Article 12(6))",
        "the request is manifestly unfounded (Article 12(5))",
        "the request is excessive, in particular because it repeats (Article 12(5))",
        "we hold no data about you that this right reaches",
        "a legal duty, or a legal claim, keeps us from it (Articles 17(3) and 23)",
        "it would adversely affect the rights of others (Article 15(4))",
    ],
    acknowledgement: (
        "We have your request",
        "You asked for {right}. We have your request since {since}, and answer it by {by} at the \
         latest.{stands}\n\nThe number of your request is {number}. Keep it in the subject when \
         you write to us about it.\n",
    ),
    stands: " We first have to make sure that it is you who asks; the time for that is added.",
    ends: " We do not know this address. Write back how we can make sure who you are. If nothing \
           shows it within 14 days, your request ends; you can ask again at any time.",
    proof: (
        "Please show that it is you",
        "You asked for {right}. So that we give nothing to anybody else, we first have to make \
         sure that it is you; the time for that is added. Write back, with the number {number} in \
         the subject, how we can make sure of it. Send no copy of an identity card.{ends}\n",
    ),
    lapsed: "For 14 days nothing has shown that the request comes from you. Nothing was disclosed \
             or changed. You can ask again at any time: signed in, from the address that your \
             account has, or by writing how we can make sure who you are.",
    code: (
        "Show that it is you",
        "Somebody, probably you, asked for {right} with this address. So that we give nothing to \
         anybody else, show that it is you: the code is\n\n{code}\n\nIt works for {hours} hours, \
         on the page for requests (/requests), with the number {number} of your request. If it was \
         not you, ignore this mail: nothing happens without the code.\n",
    ),
    lifted: (
        "What you asked for ends",
        "You asked for {right}. That ends now.\n\nIf you think that we are wrong, you can complain \
         to {authority}\n",
    ),
    extension: (
        "Your request takes longer",
        "You asked for {right}. It takes us longer than we said: we answer by {by}. The \
         reason:\n\n{reason}\n\nYou can complain about this to {authority}\n",
    ),
    refusal: (
        "Your request",
        "You asked for {right}. We do not do that, because {why}.{more}\n\nIf you think that we \
         are wrong, you can complain to {authority}\n\nYou can also go to court.\n",
    ),
    reopened: (
        "We look at your request again",
        "You asked for {right}. We had refused that, and were wrong: your request is open again. \
         It has to be answered by {by}.\n",
    ),
    erased: (
        "Your data is erased",
        "You asked for {right}. It is done: your account here, what we wrote to you and you to us, \
         and the readings about you are gone, and cannot be brought back.\n\nWhat stays, and \
         why:\n\n{kept}{elsewhere}\nThere is a signed certificate. Its SHA-256 is {digest}. This \
         mail is removed on our side once it has left.\n\nIf you think that we are wrong, you can \
         complain to {authority}\n",
    ),
    elsewhere: "\nYour account is also used by another organisation, where it stays: ask them.\n",
    answer: ("The answer to your request", "You asked for {right}.\n\n{text}{fetch}\n"),
    fetch: "\n\nYour copy can be fetched for 14 days, on the page for requests (/requests): the \
            number of the request is {number}, the code is\n\n{code}",
    copy_is_here: "Here is your copy of everything that we keep about you.",
    copy_is_yours: "Your copy is under My privacy, where you can fetch it at any time.",
    restricted: "From now on we keep your data and do nothing else with it.",
    objected: "From now on your data is not used for that any more.",
    done: "It is done.",
};

static CHINESE: Words = Words {
    rights: [
        "取得您資料的副本",
        "更正您的資料",
        "刪除您的資料",
        "限制對您資料的處理",
        "取得其他程式可讀取的資料副本",
        "停止對您資料的某項使用",
        "查明您的申訴",
    ],
    reasons: [
        "我們無法確認請求出自您本人（第 12(6) 條）",
        "該請求顯無理由（第 12(5) 條）",
        "該請求過度，特別是因為重複提出（第 12(5) 條）",
        "我們沒有此權利所及的您的資料",
        "法定義務或法律上的請求權使我們不能這麼做（第 17(3) 條及第 23 條）",
        "這會損害他人的權利（第 15(4) 條）",
    ],
    acknowledgement: (
        "我們已收到您的請求",
        "您請求{right}。我們於 {since} 收到您的請求，最遲將於 {by} \
         答覆。{stands}\n\n您的請求編號為 {number}。來信時請將編號保留在主旨中。\n",
    ),
    stands: "我們必須先確認是您本人提出請求；所需的時間會順延。",
    ends: "我們沒有登記這個電子郵件地址。請回信告知我們可以如何確認您的身分。若 14 \
           天內無法證明，您的請求即告結束；您可隨時重新提出。",
    proof: (
        "請證明是您本人",
        "您請求{right}。為了不把任何資料交給他人，我們必須先確認是您本人；所需的時間會順延。\
         請回信告知我們可以如何確認，並將請求編號 {number} \
         保留在主旨中。請勿寄送身分證件的副本。{ends}\n",
    ),
    lapsed: "14 天以來，沒有任何資料證明此請求出自您本人。我們未揭露或變更任何資料。\
             您可隨時重新提出：登入後提出、以您帳戶的電子郵件地址提出，或來信告知我們可以如何確認您的身分。",
    code: (
        "請證明是您本人",
        "有人（很可能是您）以此電子郵件地址請求{right}。為了不把任何資料交給他人，\
         請證明是您本人：驗證碼為\n\n{code}\n\n驗證碼在 {hours} \
         小時內有效，請在請求頁面（/requests）連同請求編號 {number} \
         一起輸入。若非您本人所為，請忽略此信：沒有驗證碼就不會發生任何事。\n",
    ),
    lifted: (
        "您所請求的事項即將終止",
        "您曾請求{right}。此事現在終止。\n\n若您認為我們有誤，可向下列機關申訴：{authority}\n",
    ),
    extension: (
        "您的請求需要更多時間",
        "您請求{right}。我們需要比先前告知更長的時間：將於 {by} \
         前答覆。理由：\n\n{reason}\n\n您可就此向下列機關申訴：{authority}\n",
    ),
    refusal: (
        "關於您的請求",
        "您請求{right}。我們不予辦理，因為{why}。{more}\n\n若您認為我們有誤，\
         可向下列機關申訴：{authority}\n\n您也可以向法院提起訴訟。\n",
    ),
    reopened: (
        "我們將重新審視您的請求",
        "您請求{right}。我們先前的拒絕有誤：您的請求已重新受理，必須於 {by} 前答覆。\n",
    ),
    erased: (
        "您的資料已刪除",
        "您請求{right}。此事已完成：您在此的帳戶、我們與您之間的往來訊息，以及關於您的讀數均已刪除\
         ，無法復原。\n\n仍保留的資料及理由：\n\n{kept}{elsewhere}\n我們備有已簽署的證明，\
         其 SHA-256 為 {digest}。此信寄出後，我們這一端即會刪除。\n\n若您認為我們有誤，\
         可向下列機關申訴：{authority}\n",
    ),
    elsewhere: "\n您的帳戶也由另一個組織使用，並在該處保留：請向該組織提出。\n",
    answer: ("對您請求的答覆", "您請求{right}。\n\n{text}{fetch}\n"),
    fetch: "\n\n您可在 14 天內於請求頁面（/requests）取得副本：請求編號為 {number}，驗證碼為\
            \n\n{code}",
    copy_is_here: "這是我們所保存關於您的一切資料的副本。",
    copy_is_yours: "您的副本在「我的隱私」中，您可隨時取得。",
    restricted: "自即日起，我們只保存您的資料，不做其他處理。",
    objected: "自即日起，您的資料不再用於該目的。",
    done: "已完成。",
};

static JAPANESE: Words = Words {
    rights: [
        "ご自身のデータの写し",
        "ご自身のデータの訂正",
        "ご自身のデータの消去",
        "ご自身のデータの取扱いの制限",
        "他のプログラムで読めるデータの写し",
        "ご自身のデータの利用の停止",
        "苦情の調査",
    ],
    reasons: [
        "ご本人からの請求であることを確認できませんでした（第12条第6項）",
        "請求に明らかに根拠がありません（第12条第5項）",
        "請求が、特に繰り返しのために過剰です（第12条第5項）",
        "この権利が及ぶあなたのデータを保有していません",
        "法的義務または法的請求のため行うことができません（第17条第3項、第23条）",
        "他の方の権利を害することになります（第15条第4項）",
    ],
    acknowledgement: (
        "ご請求を受け付けました",
        "{right}についてのご請求を{since}に受け付けました。遅くとも{by}\
         までに回答します。{stands}\n\nご請求の番号は {number} です。\
         この件でご連絡の際は、件名にこの番号を残してください。\n",
    ),
    stands: "まずご本人であることを確認する必要があり、そのための時間は期限に加えられます。",
    ends: "このアドレスは当方に登録がありません。ご本人であることをどのように確認できるか、\
           ご返信ください。14日以内に示されない場合、ご請求は終了します。\
           いつでも改めてご請求いただけます。",
    proof: (
        "ご本人であることをお示しください",
        "{right}についてご請求がありました。他の方に何も渡さないため、\
         まずご本人であることを確認する必要があり、そのための時間は期限に加えられます。\
         どのように確認できるかを、件名に請求番号 {number} を残してご返信ください。\
         身分証明書の写しは送らないでください。{ends}\n",
    ),
    lapsed: "14日間、ご本人からの請求であることが示されませんでした。\
             何も開示されず、変更もされていません。いつでも改めてご請求いただけます。\
             サインインする、アカウントのアドレスから送る、\
             またはどのように確認できるかをお書きください。",
    code: (
        "ご本人確認のお願い",
        "このアドレスで、おそらくあなたから、{right}のご請求がありました。\
         他の方に何も渡さないため、ご本人であることをお示しください。確認コードは次のとおりです。\
         \n\n{code}\n\nコードは{hours}時間有効です。ご請求のページ（/requests）で、請求番号 \
         {number} とともに入力してください。お心当たりがない場合はこのメールを無視してください。\
         コードがなければ何も行われません。\n",
    ),
    lifted: (
        "ご請求いただいた措置が終了します",
        "{right}についてのご請求による措置は、ここで終了します。\n\n\
         当方の判断に誤りがあるとお考えの場合は、次の機関に苦情を申し立てることができます：\
         {authority}\n",
    ),
    extension: (
        "回答に時間がかかっています",
        "{right}についてのご請求には、お伝えした以上の時間が必要です。{by}\
         までに回答します。理由：\n\n{reason}\n\n\
         これについて次の機関に苦情を申し立てることができます：{authority}\n",
    ),
    refusal: (
        "ご請求について",
        "{right}についてのご請求には応じられません。理由：{why}。{more}\n\n\
         当方の判断に誤りがあるとお考えの場合は、次の機関に苦情を申し立てることができます：\
         {authority}\n\n裁判所に訴えることもできます。\n",
    ),
    reopened: (
        "ご請求を改めて検討します",
        "{right}についてのご請求をお断りしましたが、誤りでした。ご請求は再び受け付けられ、{by}\
         までに回答されます。\n",
    ),
    erased: (
        "あなたのデータは消去されました",
        "{right}についてのご請求は完了しました。ここでのアカウント、当方とあなたの間のやり取り、\
         あなたに関する測定値は消去され、元に戻すことはできません。\n\n残るものとその理由：\
         \n\n{kept}{elsewhere}\n署名付きの証明書があります。その SHA-256 は {digest} です。\
         このメールは、送信後に当方からは削除されます。\n\n当方の判断に誤りがあるとお考えの場合は、\
         次の機関に苦情を申し立てることができます：{authority}\n",
    ),
    elsewhere: "\nあなたのアカウントは別の組織でも使われており、そこには残ります。\
                その組織にお尋ねください。\n",
    answer: ("ご請求への回答", "{right}についてのご請求への回答です。\n\n{text}{fetch}\n"),
    fetch: "\n\n写しは14日間、ご請求のページ（/requests）で受け取れます。請求番号は {number}、\
            コードは次のとおりです。\n\n{code}",
    copy_is_here: "当方が保有するあなたに関するすべてのデータの写しです。",
    copy_is_yours: "写しは「自分のプライバシー」からいつでも受け取れます。",
    restricted: "今後、あなたのデータは保存するのみで、それ以外の取扱いは行いません。",
    objected: "今後、あなたのデータはその目的には使われません。",
    done: "完了しました。",
};

static KOREAN: Words = Words {
    rights: [
        "본인 데이터의 사본",
        "본인 데이터의 정정",
        "본인 데이터의 삭제",
        "본인 데이터 처리의 제한",
        "다른 프로그램이 읽을 수 있는 데이터 사본",
        "본인 데이터의 특정 이용 중지",
        "불만 사항의 조사",
    ],
    reasons: [
        "요청이 본인에게서 온 것인지 확인할 수 없었습니다(제12조 제6항)",
        "요청에 명백히 근거가 없습니다(제12조 제5항)",
        "요청이 특히 반복되어 과도합니다(제12조 제5항)",
        "이 권리가 미치는 귀하의 데이터를 보유하고 있지 않습니다",
        "법적 의무 또는 법적 청구 때문에 할 수 없습니다(제17조 제3항, 제23조)",
        "다른 사람의 권리를 해치게 됩니다(제15조 제4항)",
    ],
    acknowledgement: (
        "요청을 접수했습니다",
        "{right}에 대한 요청을 {since}에 접수했으며, 늦어도 {by}까지 \
         답변하겠습니다.{stands}\n\n요청 번호는 {number}입니다. 이 건으로 연락하실 때는 제목에 이 \
         번호를 남겨 주십시오.\n",
    ),
    stands: " 먼저 본인이 요청하셨는지 확인해야 하며, 그에 걸리는 시간은 기한에 더해집니다.",
    ends: " 이 주소는 저희에게 등록되어 있지 않습니다. 본인임을 어떻게 확인할 수 있는지 회신해 \
           주십시오. 14일 안에 확인되지 않으면 요청은 종료되며, 언제든지 다시 요청하실 수 있습니다.",
    proof: (
        "본인임을 보여 주십시오",
        "{right}을(를) 요청하셨습니다. 다른 사람에게 아무것도 넘기지 않도록 먼저 본인임을 확인해야 \
         하며, 그에 걸리는 시간은 기한에 더해집니다. 어떻게 확인할 수 있는지, 제목에 요청 번호 \
         {number}을(를) 남겨 회신해 주십시오. 신분증 사본은 보내지 마십시오.{ends}\n",
    ),
    lapsed: "14일 동안 요청이 본인에게서 온 것임이 확인되지 않았습니다. 아무것도 공개되거나 \
             변경되지 않았습니다. 언제든지 다시 요청하실 수 있습니다. 로그인하시거나, 계정의 \
             주소에서 보내시거나, 본인임을 어떻게 확인할 수 있는지 적어 주십시오.",
    code: (
        "본인임을 확인해 주십시오",
        "이 주소로, 아마도 귀하께서, {right}을(를) 요청하셨습니다. 다른 사람에게 아무것도 넘기지 \
         않도록 본인임을 확인해 주십시오. 코드는 다음과 같습니다.\n\n{code}\n\n코드는 {hours}시간 \
         동안 유효합니다. 요청 페이지(/requests)에서 요청 번호 {number}와(과) 함께 입력해 \
         주십시오. 본인이 아니라면 이 메일을 무시하십시오. 코드 없이는 아무 일도 일어나지 않습니다.\n",
    ),
    lifted: (
        "요청하신 조치가 종료됩니다",
        "{right}에 대한 요청에 따른 조치는 이제 종료됩니다.\n\n저희 판단이 잘못되었다고 생각하시면 \
         다음 기관에 민원을 제기하실 수 있습니다: {authority}\n",
    ),
    extension: (
        "요청 처리에 시간이 더 걸립니다",
        "{right}에 대한 요청은 말씀드린 것보다 시간이 더 필요합니다. {by}까지 답변하겠습니다. \
         이유:\n\n{reason}\n\n이에 대해 다음 기관에 민원을 제기하실 수 있습니다: {authority}\n",
    ),
    refusal: (
        "요청에 관하여",
        "{right}에 대한 요청은 들어드릴 수 없습니다. 이유: {why}.{more}\n\n저희 판단이 \
         잘못되었다고 생각하시면 다음 기관에 민원을 제기하실 수 있습니다: {authority}\n\n법원에 \
         소를 제기하실 수도 있습니다.\n",
    ),
    reopened: (
        "요청을 다시 검토합니다",
        "{right}에 대한 요청을 거절했으나 잘못된 결정이었습니다. 요청이 다시 접수되었으며 {by}까지 \
         답변해야 합니다.\n",
    ),
    erased: (
        "귀하의 데이터가 삭제되었습니다",
        "{right}에 대한 요청을 처리했습니다. 이곳의 계정, 저희와 귀하가 주고받은 글, 귀하에 관한 \
         측정값이 삭제되었으며 되돌릴 수 없습니다.\n\n남는 것과 그 이유:\n\n{kept}{elsewhere}\n\
         서명된 증명서가 있습니다. SHA-256은 {digest}입니다. 이 메일은 발송된 뒤 저희 쪽에서 \
         삭제됩니다.\n\n저희 판단이 잘못되었다고 생각하시면 다음 기관에 민원을 제기하실 수 \
         있습니다: {authority}\n",
    ),
    elsewhere: "\n귀하의 계정은 다른 조직에서도 쓰이며 그곳에 남습니다. 그 조직에 문의해 \
                주십시오.\n",
    answer: ("요청에 대한 답변", "{right}에 대한 요청의 답변입니다.\n\n{text}{fetch}\n"),
    fetch: "\n\n사본은 14일 동안 요청 페이지(/requests)에서 받으실 수 있습니다. 요청 번호는 \
            {number}, 코드는 다음과 같습니다.\n\n{code}",
    copy_is_here: "저희가 귀하에 관해 보관하는 모든 데이터의 사본입니다.",
    copy_is_yours: "사본은 ‘내 개인정보’에서 언제든지 받으실 수 있습니다.",
    restricted: "앞으로 귀하의 데이터는 보관만 하고 다른 처리는 하지 않습니다.",
    objected: "앞으로 귀하의 데이터는 그 목적으로 쓰이지 않습니다.",
    done: "완료되었습니다.",
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The places of a text, sorted.
    fn places(text: &str) -> Vec<&str> {
        let named = text.split('{').skip(1);
        let mut places: Vec<&str> =
            named.filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect();
        places.sort_unstable();
        places
    }

    fn texts(words: &Words) -> [&'static str; 15] {
        [
            words.acknowledgement.1,
            words.stands,
            words.ends,
            words.proof.1,
            words.lapsed,
            words.code.1,
            words.lifted.1,
            words.extension.1,
            words.refusal.1,
            words.reopened.1,
            words.erased.1,
            words.elsewhere,
            words.answer.1,
            words.fetch,
            words.done,
        ]
    }

    #[test]
    fn each_language_has_the_same_places() {
        for language in Language::ALL {
            let (own, english) = (Words::of(language), Words::of(Language::English));
            for (own, english) in texts(own).into_iter().zip(texts(english)) {
                assert_eq!(places(own), places(english), "{own}");
                assert!(!own.is_empty());
                assert_eq!(own.is_ascii(), language == Language::English, "{own}");
            }
            for kind in CaseKind::ALL {
                assert!(!own.right(*kind).is_empty());
            }
            assert!(REASONS.iter().all(|name| own.reason(name).is_some()));
            assert_eq!(own.reason("because"), None);
        }
    }
}
