//! National identity numbers: how each is written, and what has to be right of it. Letters come in
//! upper case and without the blanks and hyphens between groups.

use super::card::luhn;

/// A state's number for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NationalId {
    /// 國民身分證統一編號 and 統一證號 of foreign residents.
    Taiwan,
    /// 個人番号, My Number.
    Japan,
    /// 주민등록번호 and 외국인등록번호.
    Korea,
    /// 公民身份号码.
    China,
    /// National Insurance number.
    UnitedKingdom,
    /// Social security number.
    UnitedStates,
    /// Steuerliche Identifikationsnummer.
    Germany,
    /// DNI and NIE.
    Spain,
    /// Codice fiscale.
    Italy,
    /// Numéro d'inscription au répertoire.
    France,
    /// PESEL.
    Poland,
    /// Personnummer and samordningsnummer.
    Sweden,
}

impl NationalId {
    /// The rule's name in refusals.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Taiwan => "national_id_tw",
            Self::Japan => "national_id_jp",
            Self::Korea => "national_id_kr",
            Self::China => "national_id_cn",
            Self::UnitedKingdom => "national_id_gb",
            Self::UnitedStates => "national_id_us",
            Self::Germany => "national_id_de",
            Self::Spain => "national_id_es",
            Self::Italy => "national_id_it",
            Self::France => "national_id_fr",
            Self::Poland => "national_id_pl",
            Self::Sweden => "national_id_se",
        }
    }
}

/// Words that say such a number follows, written together in lower case: in the key, or in the text
/// around.
#[rustfmt::skip]
pub(super) static WORDS: [(&str, &[NationalId]); 67] = {
    use NationalId::*;
    [
        ("citizenid", &[China]), ("dni", &[Spain]), ("dninie", &[Spain]),
        ("documentonacionaldeidentidad", &[Spain]), ("idcard", &[Taiwan, China]),
        ("idcardno", &[Taiwan, China]), ("idcardnumber", &[Taiwan, China]),
        ("identitycard", &[Taiwan, China]), ("idnr", &[Germany]), ("insee", &[France]),
        ("juminnumber", &[Korea]), ("kojinbango", &[Japan]), ("mynumber", &[Japan]),
        ("nationalid", &[Taiwan, China]), ("nationalidno", &[Taiwan, China]),
        ("nationalidnumber", &[Taiwan, China]), ("nationalinsurance", &[UnitedKingdom]),
        ("nationalinsuranceno", &[UnitedKingdom]), ("nationalinsurancenumber", &[UnitedKingdom]),
        ("nie", &[Spain]), ("nif", &[Spain]), ("nino", &[UnitedKingdom]),
        ("ninumber", &[UnitedKingdom]), ("nir", &[France]), ("nirnumber", &[France]),
        ("numerodni", &[Spain]), ("numeroinsee", &[France]), ("numeronie", &[Spain]),
        ("numeronir", &[France]), ("numerosecu", &[France]), ("numérosécu", &[France]),
        ("personnr", &[Sweden]), ("personnummer", &[Sweden]), ("pesel", &[Poland]),
        ("residentid", &[China]), ("residentidcard", &[China]), ("rocid", &[Taiwan]),
        ("rrn", &[Korea]), ("samordningsnummer", &[Sweden]), ("securitesociale", &[France]),
        ("shenfenzheng", &[China]), ("socialsecurity", &[UnitedStates]),
        ("socialsecurityno", &[UnitedStates]), ("socialsecuritynumber", &[UnitedStates]),
        ("ssn", &[UnitedStates]), ("ssnumber", &[UnitedStates]), ("steuerid", &[Germany]),
        ("steueridentifikationsnummer", &[Germany]), ("steueridnr", &[Germany]),
        ("steueridnummer", &[Germany]), ("steuernummer", &[Germany]), ("sécuritésociale", &[France]),
        ("taiwanid", &[Taiwan]), ("taxid", &[Germany]), ("tin", &[Germany]), ("twid", &[Taiwan]),
        ("マイナンバー", &[Japan]), ("個人番号", &[Japan]), ("公民身份", &[China]), ("居留證", &[Taiwan]),
        ("統一證號", &[Taiwan]), ("身份證", &[Taiwan]), ("身份证", &[China]), ("身分證", &[Taiwan]),
        ("외국인등록번호", &[Korea]), ("주민등록번호", &[Korea]), ("주민번호", &[Korea]),
    ]
};

/// What stands between the groups of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Joint {
    /// A blank or a hyphen.
    Any,
    /// A hyphen.
    Hyphen,
}

/// One way of writing a number.
pub(super) struct Form {
    pub(super) scheme: NationalId,
    /// Letters and digits of each group.
    pub(super) groups: &'static [u8],
    pub(super) joint: Joint,
    /// Counts only beside one of the scheme's words.
    pub(super) needs_word: bool,
    pub(super) is_valid: fn(&[u8]) -> bool,
    /// The date of birth in a valid number as YYYYMMDD, where it is told from other dates by.
    pub(super) born: Option<fn(&[u8]) -> u32>,
}

/// A form that counts beside one of its words only.
const fn named(scheme: NationalId, groups: &'static [u8], is_valid: fn(&[u8]) -> bool) -> Form {
    Form { scheme, groups, joint: Joint::Any, needs_word: true, is_valid, born: None }
}

/// A form that speaks for itself.
const fn plain(scheme: NationalId, groups: &'static [u8], is_valid: fn(&[u8]) -> bool) -> Form {
    Form { needs_word: false, ..named(scheme, groups, is_valid) }
}

const fn born(form: Form, born: fn(&[u8]) -> u32) -> Form {
    Form { born: Some(born), ..form }
}

const fn hyphened(form: Form) -> Form {
    Form { joint: Joint::Hyphen, ..form }
}

/// Most groups of a form.
pub(super) const GROUPS_MAX: usize = 7;
/// Most letters and digits of a form.
pub(super) const LENGTH_MAX: usize = 18;

/// Every form, by the length of its first group. What has no strong check counts beside a word for
/// it only: one digit or letter of a check is right for one serial number in ten or twenty. Strong
/// are two digits in a form of seven groups (France), letters at nine stated places and one that
/// checks them (Italy), and a date of birth of its own besides the check digit (China, Korea).
const FORMS: [Form; 31] = [
    named(NationalId::Spain, &[1, 7, 1], spain),
    named(NationalId::Spain, &[1, 8], spain),
    plain(NationalId::France, &[1, 2, 2, 2, 3, 3, 2], france),
    named(NationalId::France, &[1, 2, 2, 2, 3, 3, 2], france),
    named(NationalId::UnitedKingdom, &[2, 6, 1], united_kingdom),
    named(NationalId::UnitedKingdom, &[2, 2, 2, 2, 1], united_kingdom),
    named(NationalId::Germany, &[2, 3, 3, 3], germany),
    named(NationalId::UnitedStates, &[3, 2, 4], united_states),
    plain(NationalId::Italy, &[3, 3, 5, 4, 1], italy),
    named(NationalId::Japan, &[4, 4, 4], japan),
    born(hyphened(plain(NationalId::Korea, &[6, 7], korea)), korea_born),
    born(named(NationalId::Korea, &[6, 7], korea_written), korea_born),
    named(NationalId::Sweden, &[6, 4], sweden),
    named(NationalId::UnitedKingdom, &[8, 1], united_kingdom),
    named(NationalId::Spain, &[8, 1], spain),
    named(NationalId::Sweden, &[8, 4], sweden),
    named(NationalId::UnitedKingdom, &[9], united_kingdom),
    named(NationalId::UnitedStates, &[9], united_states),
    named(NationalId::Spain, &[9], spain),
    named(NationalId::Taiwan, &[10], taiwan),
    named(NationalId::Sweden, &[10], sweden),
    named(NationalId::Germany, &[11], germany),
    named(NationalId::Poland, &[11], poland),
    named(NationalId::Japan, &[12], japan),
    named(NationalId::Sweden, &[12], sweden),
    born(named(NationalId::Korea, &[13], korea_written), korea_born),
    named(NationalId::France, &[13, 2], france),
    named(NationalId::France, &[15], france),
    plain(NationalId::Italy, &[16], italy),
    born(plain(NationalId::China, &[18], china), china_born),
    born(named(NationalId::China, &[18], china), china_born),
];

/// Where the forms are that begin with a group of so many letters and digits.
const STARTS: [usize; LENGTH_MAX + 2] = {
    let mut starts = [0; LENGTH_MAX + 2];
    let (mut length, mut form) = (0, 0);
    while length < starts.len() {
        while form < FORMS.len() && (FORMS[form].groups[0] as usize) < length {
            form += 1;
        }
        starts[length] = form;
        length += 1;
    }
    starts
};

/// The forms that begin with a group of so many letters and digits.
pub(super) fn forms_of(length: usize) -> &'static [Form] {
    static ALL: [Form; FORMS.len()] = FORMS;
    match (STARTS.get(length), STARTS.get(length + 1)) {
        (Some(from), Some(to)) => &ALL[*from..*to],
        _ => &[],
    }
}

/// The digits of a text that holds nothing else.
fn digits<const N: usize>(text: &[u8]) -> Option<[u32; N]> {
    let text: &[u8; N] = text.try_into().ok()?;
    text.iter().all(u8::is_ascii_digit).then(|| text.map(|byte| u32::from(byte - b'0')))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn weighed(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

fn is_date(month: u32, day: u32) -> bool {
    (1..=12).contains(&month) && (1..=31).contains(&day)
}

/// A letter for the place of registration, 1 or 2 (foreign residents since 2021: 8 or 9), seven
/// digits and a check digit: 戶籍法施行細則 and the Ministry of the Interior's 統一證號編碼規則. The
/// letter counts as two digits, weights are 1 9 8 ... 1 1, the sum divides by 10. Older numbers of
/// foreign residents, with two letters, are not told from serial numbers.
fn taiwan(text: &[u8]) -> bool {
    const LETTERS: &[u8; 26] = b"ABCDEFGHJKLMNPQRSTUVXYWZIO";
    let place = |letter: &u8| LETTERS.iter().position(|known| known == letter);
    let [first, second, rest @ ..] = text else { return false };
    let Some(first) = place(first) else { return false };
    let second = match second {
        b'1' | b'2' | b'8' | b'9' => u32::from(second - b'0'),
        _ => return false,
    };
    let Some(rest) = digits::<8>(rest) else { return false };
    let first = first as u32 + 10;
    let sum = first / 10 + first % 10 * 9 + second * 8;
    (sum + weighed(&rest, &[7, 6, 5, 4, 3, 2, 1, 1])).is_multiple_of(10)
}

/// Eleven digits and a check digit: 番号利用法施行令 (Ordinance of the Ministry of Internal Affairs
/// No. 85 of 2014), article 5.
fn japan(text: &[u8]) -> bool {
    let Some(text) = digits::<12>(text) else { return false };
    let rest = weighed(&text[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest <= 1 { 0 } else { 11 - rest };
    text[11] == check && text.iter().any(|digit| *digit != text[0])
}

/// Date of birth and a digit for century and sex (주민등록법 시행규칙, article 2).
fn korea_birth(text: &[u32; 13]) -> Option<u32> {
    let [y1, y0, m1, m0, d1, d0, sex, ..] = *text;
    let century = match sex {
        1 | 2 | 5 | 6 => 1900,
        3 | 4 | 7 | 8 => 2000,
        _ => return None,
    };
    let (month, day) = (m1 * 10 + m0, d1 * 10 + d0);
    is_date(month, day).then_some((century + y1 * 10 + y0) * 10_000 + month * 100 + day)
}

fn korea_born(text: &[u8]) -> u32 {
    digits::<13>(text).and_then(|text| korea_birth(&text)).unwrap_or_default()
}

/// Numbers given out since October 2020 have no check digit.
fn korea_written(text: &[u8]) -> bool {
    digits::<13>(text).is_some_and(|text| korea_birth(&text).is_some())
}

/// As [`korea_written`], of people born before October 2020, with the check digit of that time;
/// those of foreign residents are 2 higher.
fn korea(text: &[u8]) -> bool {
    const UNCHECKED_SINCE: u32 = 20_201_000;
    let Some(text) = digits::<13>(text) else { return false };
    let Some(birth) = korea_birth(&text) else { return false };
    let sum = weighed(&text[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    let check = 11 - sum % 11;
    let is_checked = text[12] == check % 10 || (text[6] >= 5 && text[12] == (check + 2) % 10);
    is_checked && birth < UNCHECKED_SINCE
}

/// GB 11643-1999: region, date of birth, order, check character of ISO 7064 MOD 11-2.
fn china(text: &[u8]) -> bool {
    let [body @ .., check] = text else { return false };
    let Some(body) = digits::<17>(body) else { return false };
    let year = body[6] * 1000 + body[7] * 100 + body[8] * 10 + body[9];
    let (month, day) = (body[10] * 10 + body[11], body[12] * 10 + body[13]);
    let sum = weighed(&body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let expected = b"10X98765432"[sum as usize % 11];
    // Provinces: GB/T 2260.
    let region = body[0] * 10 + body[1];
    let is_region = matches!(region, 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65)
        || matches!(region, 71 | 81..=83);
    is_region && (1800..2100).contains(&year) && is_date(month, day) && *check == expected
}

fn china_born(text: &[u8]) -> u32 {
    text.get(6..14).and_then(number).and_then(|date| date.try_into().ok()).unwrap_or_default()
}

/// Two letters, six digits, A to D (HMRC, National Insurance Manual NIM39110). No check digit.
fn united_kingdom(text: &[u8]) -> bool {
    let [first, second, number @ .., suffix] = text else { return false };
    let never = |letter: &u8| b"DFIQUV".contains(letter) || !letter.is_ascii_uppercase();
    let is_prefix = !never(first)
        && !never(second)
        && *second != b'O'
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[*first, *second]);
    is_prefix && digits::<6>(number).is_some() && matches!(suffix, b'A'..=b'D')
}

/// Area, group, serial number, none of them zero; no area is 666 or over 899 (Social Security
/// Administration, POMS RM 10201.035). No check digit.
fn united_states(text: &[u8]) -> bool {
    if digits::<9>(text).is_none() {
        return false;
    }
    let part = |range: std::ops::Range<usize>| number(&text[range]).unwrap_or_default();
    let area = part(0..3);
    (1..900).contains(&area) && area != 666 && part(3..5) != 0 && part(5..9) != 0
}

/// § 139b AO: ten digits of which exactly one comes twice or three times, and a check digit of ISO
/// 7064 MOD 11,10 (Bundeszentralamt für Steuern, Informationen zur Identifikationsnummer).
fn germany(text: &[u8]) -> bool {
    let Some(text) = digits::<11>(text) else { return false };
    let mut counts = [0u32; 10];
    let mut product = 10;
    for digit in &text[..10] {
        counts[*digit as usize] += 1;
        let sum = match (digit + product) % 10 {
            0 => 10,
            sum => sum,
        };
        product = sum * 2 % 11;
    }
    let repeated = counts.iter().filter(|count| **count > 1);
    let is_one = repeated.clone().count() == 1 && repeated.sum::<u32>() <= 3;
    text[0] != 0 && is_one && (11 - product) % 10 == text[10]
}

/// Eight digits (of a foreigner: X, Y or Z and seven) and a letter by the remainder of 23: Real
/// Decreto 1553/2005, Orden INT/2058/2008.
fn spain(text: &[u8]) -> bool {
    let [body @ .., letter] = text else { return false };
    if body.len() != 8 {
        return false;
    }
    let (before, rest) = match body {
        [first @ b'X'..=b'Z', rest @ ..] => (u64::from(first - b'X') * 10_000_000, rest),
        rest => (0, rest),
    };
    let is_digits = rest.iter().all(u8::is_ascii_digit);
    let Some(rest) = number(rest).filter(|_| is_digits) else { return false };
    rest + before != 0 && b"TRWAGMYFPDXBNJZSQVHLCKE"[((rest + before) % 23) as usize] == *letter
}

/// Decreto MEF 23 dicembre 1976 (n. 13813): name, date of birth and sex, place, check letter. Where
/// two people would have the same, letters stand for digits.
fn italy(text: &[u8]) -> bool {
    /// The values of characters at odd places; at even places a character counts by its order.
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let Ok(text) = <&[u8; 16]>::try_from(text) else { return false };
    let is_number = |byte: u8| byte.is_ascii_digit() || b"LMNPQRSTUV".contains(&byte);
    let fits = text.iter().enumerate().all(|(place, byte)| match place {
        8 => b"ABCDEHLMPRST".contains(byte),
        6 | 7 | 9 | 10 | 12..=14 => is_number(*byte),
        _ => byte.is_ascii_uppercase(),
    });
    let order = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let value = |(place, byte): (usize, &u8)| match place % 2 {
        0 => ODD.get(order(*byte) as usize).copied().unwrap_or_default(),
        _ => order(*byte),
    };
    fits && text[..15].iter().enumerate().map(value).sum::<u32>() % 26 == order(text[15])
}

/// Sex, year and month of birth, department, municipality, order, and a key: 97 less the remainder
/// (Code de la sécurité sociale, R. 115-1; INSEE). Corsica's 2A and 2B count as 19 and 18.
fn france(text: &[u8]) -> bool {
    if text.len() != 15 || !matches!(text[0], b'1'..=b'4' | b'7' | b'8') {
        return false;
    }
    let mut body = [0u8; 13];
    body.copy_from_slice(&text[..13]);
    match (body[5], body[6]) {
        (b'2', b'A') => (body[5], body[6]) = (b'1', b'9'),
        (b'2', b'B') => (body[5], body[6]) = (b'1', b'8'),
        _ => {}
    }
    if digits::<13>(&body).is_none() || digits::<2>(&text[13..]).is_none() {
        return false;
    }
    let (Some(body_number), Some(key)) = (number(&body), number(&text[13..])) else { return false };
    let month = number(&body[3..5]).unwrap_or_default();
    let department = number(&body[5..7]).unwrap_or_default();
    matches!(month, 1..=12 | 20..=42 | 50..=99) && department != 0 && key == 97 - body_number % 97
}

/// Date of birth with the century in the month, order, check digit: ustawa o ewidencji ludności,
/// art. 15 (rozporządzenie z 4 stycznia 2012).
fn poland(text: &[u8]) -> bool {
    let Some(text) = digits::<11>(text) else { return false };
    let (month, day) = ((text[2] * 10 + text[3]) % 20, text[4] * 10 + text[5]);
    let sum = weighed(&text[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    is_date(month, day) && (10 - sum % 10) % 10 == text[10]
}

/// Date of birth (60 more to the day of a coordination number), order, Luhn's check digit: SKV 704,
/// Folkbokföringslag (1991:481), 18 §.
fn sweden(text: &[u8]) -> bool {
    let text = if text.len() == 12 { &text[2..] } else { text };
    let Some(number) = digits::<10>(text) else { return false };
    let (month, day) = (number[2] * 10 + number[3], number[4] * 10 + number[5]);
    let day = if day > 60 { day - 60 } else { day };
    is_date(month, day) && luhn(text)
}
