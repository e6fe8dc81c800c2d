'use strict'
// Verifies the evidence in this page from its bytes alone: RFC 6962 hashing, inclusion proofs
// (RFC 9162, 2.1.3.2), salted records, and the Ed25519 signature of the checkpoint (C2SP signed
// note). It opens no connection, and the page's policy lets it open none.
const TEXTS = {
  en: {
    title: 'Evidence from a ledger',
    passed: 'Verified: every entry and record below is as it was sealed.',
    failed: 'Not verified: something below is not as it was sealed.',
    unavailable: 'The hashes hold, but this browser cannot check Ed25519 signatures.',
    whatHeading: 'What this shows',
    what: 'The readings below were sealed into a log that can only grow. Each record leads to its entry, each entry to the checkpoint, and the checkpoint is signed with the key of the log. One changed bit breaks the chain, and this page turns red.',
    not: 'It does not show that a sensor measured correctly, nor that these are all readings of that time.',
    key: 'The key came with this page. Compare it with the key that you were given on another way: only that shows whose log it is.',
    statedHeading: 'Stated by whoever made this file, not proven',
    readings: 'Readings and records',
    entries: 'Entries of the log',
    madeAt: 'Put together',
    origin: 'Log',
    vkey: 'Key',
    size: 'Entries under the checkpoint',
    root: 'Root hash',
    time: 'Time',
    device: 'Device',
    what2: 'What',
    value: 'Value',
    quality: 'Quality',
    entry: 'Entry',
    record: 'Record',
    sealed: 'Sealed',
    outcome: 'Check',
    holds: 'holds',
    broken: 'does not hold',
    leaf: 'Leaf hash',
  },
  'zh-Hant': {
    title: '帳本證據',
    passed: '已驗證：下列每筆項目與記錄都與封存時相同。',
    failed: '驗證不符：下列內容與封存時不同。',
    unavailable: '雜湊相符，但此瀏覽器無法檢查 Ed25519 簽章。',
    whatHeading: '這證明什麼',
    what: '下列讀數已封存於只能增長的記錄。每筆記錄導向其項目，每個項目導向檢查點，檢查點以記錄的金鑰簽署。只要有一個位元被更改，鏈結就會中斷，本頁會變成紅色。',
    not: '這並不證明感測器量測正確，也不證明這是該期間的全部讀數。',
    key: '金鑰隨本頁提供。請與您經由其他途徑取得的金鑰比對：唯有如此才能確認這是誰的記錄。',
    statedHeading: '由製作此檔案者陳述，未經證明',
    readings: '讀數與記錄',
    entries: '帳本項目',
    madeAt: '製作時間',
    origin: '記錄',
    vkey: '金鑰',
    size: '檢查點涵蓋的項目',
    root: '根雜湊',
    time: '時間',
    device: '裝置',
    what2: '內容',
    value: '數值',
    quality: '品質',
    entry: '項目',
    record: '記錄',
    sealed: '封存時間',
    outcome: '檢查',
    holds: '相符',
    broken: '不符',
    leaf: '葉雜湊',
  },
  ja: {
    title: '台帳の証拠',
    passed: '検証済み：以下のエントリーと記録はすべて封印時のままです。',
    failed: '検証できません：以下に封印時と異なるものがあります。',
    unavailable: 'ハッシュは一致しますが、このブラウザーは Ed25519 署名を検査できません。',
    whatHeading: 'これが示すこと',
    what: '以下の値は、増えることしかできないログに封印されました。各記録はそのエントリーへ、各エントリーはチェックポイントへつながり、チェックポイントはログの鍵で署名されています。一ビットでも変われば鎖は切れ、このページは赤くなります。',
    not: 'センサーが正しく測ったこと、またその期間の値がこれですべてであることは示しません。',
    key: '鍵はこのページに付いてきたものです。別の経路で受け取った鍵と比べてください。誰のログかはそれで初めて分かります。',
    statedHeading: 'このファイルを作成した者の記載（証明されていません）',
    readings: '値と記録',
    entries: 'ログのエントリー',
    madeAt: '作成',
    origin: 'ログ',
    vkey: '鍵',
    size: 'チェックポイントのエントリー数',
    root: 'ルートハッシュ',
    time: '時刻',
    device: '機器',
    what2: '内容',
    value: '値',
    quality: '品質',
    entry: 'エントリー',
    record: '記録',
    sealed: '封印',
    outcome: '検査',
    holds: '一致',
    broken: '不一致',
    leaf: 'リーフハッシュ',
  },
  ko: {
    title: '원장의 증거',
    passed: '검증됨: 아래의 모든 항목과 기록이 봉인된 그대로입니다.',
    failed: '검증되지 않음: 아래에 봉인된 것과 다른 것이 있습니다.',
    unavailable: '해시는 맞지만 이 브라우저는 Ed25519 서명을 확인할 수 없습니다.',
    whatHeading: '이것이 보여 주는 것',
    what: '아래 값은 늘어나기만 하는 로그에 봉인되었습니다. 각 기록은 해당 항목으로, 각 항목은 체크포인트로 이어지며, 체크포인트는 로그의 키로 서명되어 있습니다. 한 비트라도 바뀌면 사슬이 끊어지고 이 페이지는 빨간색이 됩니다.',
    not: '센서가 올바르게 측정했다는 것이나 이것이 그 기간의 모든 값이라는 것은 보여 주지 않습니다.',
    key: '키는 이 페이지와 함께 왔습니다. 다른 경로로 받은 키와 비교하십시오. 그래야 누구의 로그인지 알 수 있습니다.',
    statedHeading: '이 파일을 만든 사람이 적은 내용(증명되지 않음)',
    readings: '값과 기록',
    entries: '로그의 항목',
    madeAt: '작성',
    origin: '로그',
    vkey: '키',
    size: '체크포인트의 항목 수',
    root: '루트 해시',
    time: '시각',
    device: '장치',
    what2: '내용',
    value: '값',
    quality: '품질',
    entry: '항목',
    record: '기록',
    sealed: '봉인',
    outcome: '확인',
    holds: '맞음',
    broken: '맞지 않음',
    leaf: '리프 해시',
  },
}
const NAMES = { en: 'English', 'zh-Hant': '繁體中文', ja: '日本語', ko: '한국어' }

const FIRST_SEQUENCE_AT = 66
const COUNT_AT = 74
const SEALED_AT = 94
const RECORDS_ROOT_AT = 142
const FIXED_BYTES = 174

const bytesOf = (text) => {
  if (typeof text !== 'string') throw new Error('not base64')
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
}
const base64 = (bytes) => btoa(String.fromCharCode(...bytes))
const utf8 = (text) => new TextEncoder().encode(text)
const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i])

function joined(...parts) {
  const all = new Uint8Array(parts.reduce((total, part) => total + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

async function sha256(...parts) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', joined(...parts)))
}

const leafHash = (leaf) => sha256(Uint8Array.of(0), leaf)
const nodeHash = (left, right) => sha256(Uint8Array.of(1), left, right)

function hashOf(text) {
  const hash = bytesOf(text)
  if (hash.length !== 32) throw new Error('a hash must be 32 bytes')
  return hash
}

async function rootFrom(index, size, leaf, path) {
  if (index < 0n || index >= size) throw new Error('the index lies outside the tree')
  if (path.length > 63) throw new Error('the path is too long')
  let node = index
  let last = size - 1n
  let root = leaf
  for (const sibling of path) {
    if (last === 0n) throw new Error('the path is too long')
    if ((node & 1n) === 1n || node === last) {
      root = await nodeHash(sibling, root)
      while ((node & 1n) === 0n && node !== 0n) {
        node >>= 1n
        last >>= 1n
      }
    } else {
      root = await nodeHash(root, sibling)
    }
    node >>= 1n
    last >>= 1n
  }
  if (last !== 0n) throw new Error('the path is too short')
  return root
}

function parsedNote(note) {
  const end = note.lastIndexOf('\n\n')
  if (end < 0) throw new Error('the checkpoint is not a signed note')
  const text = note.slice(0, end + 1)
  const [origin, size, root] = text.split('\n')
  if (!/^(0|[1-9]\d{0,18})$/.test(size ?? '')) throw new Error('the checkpoint has no size')
  const lines = note
    .slice(end + 2)
    .split('\n')
    .filter((line) => line !== '')
  return { text, origin, size: BigInt(size), root: hashOf(root), lines }
}

async function keyOf(vkey) {
  const [, name, id, encoded] = /^([^\s+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(vkey) ?? []
  if (name === undefined) throw new Error('the key is not NAME+ID+KEY')
  const material = bytesOf(encoded)
  if (material[0] !== 1 || material.length !== 33) throw new Error('the key is not Ed25519')
  const hash = (await sha256(utf8(`${name}\n`), material)).slice(0, 4)
  const found = Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('')
  if (found !== id) throw new Error('the key id does not belong to the key')
  return { name, hash, raw: material.slice(1) }
}

/** True or false; null where the browser has no Ed25519. */
async function isSigned(note, key) {
  for (const line of note.lines) {
    const [, name, encoded] = /^\u2014 (\S+) (\S+)$/.exec(line) ?? []
    if (name !== key.name) continue
    const signature = bytesOf(encoded)
    if (!same(signature.slice(0, 4), key.hash)) continue
    let imported
    try {
      imported = await crypto.subtle.importKey('raw', key.raw, 'Ed25519', false, ['verify'])
    } catch {
      return null
    }
    return crypto.subtle.verify('Ed25519', imported, signature.slice(4), utf8(note.text))
  }
  return false
}

async function checkRecord(leaf, record) {
  const fields = new DataView(leaf.buffer)
  if (leaf.length < FIXED_BYTES || leaf[0] !== 1) throw new Error('the leaf is not of version 1')
  const sequence = BigInt(record.sequence)
  const salt = hashOf(record.salt)
  const body = bytesOf(record.record)
  const number = new Uint8Array(8)
  new DataView(number.buffer).setBigUint64(0, sequence)
  const index = sequence - fields.getBigUint64(FIRST_SEQUENCE_AT)
  const hash = await leafHash(joined(salt, number, body))
  const count = BigInt(fields.getUint32(COUNT_AT))
  const root = await rootFrom(index, count, hash, record.path.map(hashOf))
  if (!same(root, leaf.slice(RECORDS_ROOT_AT, FIXED_BYTES))) {
    throw new Error(`record ${record.sequence} does not lead to its entry`)
  }
  return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
}

async function checkEntry(entry, note) {
  const found = { index: entry.index, records: [], outcome: 'failed', detail: '', leaf: '', sealed: '' }
  try {
    const leaf = bytesOf(entry.leaf)
    const hash = await leafHash(leaf)
    found.leaf = base64(hash)
    found.sealed = instant(Number(new DataView(leaf.buffer).getBigInt64(SEALED_AT)))
    const root = await rootFrom(BigInt(entry.index), note.size, hash, entry.path.map(hashOf))
    if (!same(root, note.root)) throw new Error(`entry ${entry.index} does not lead to the checkpoint`)
    for (const record of entry.records) {
      const one = { sequence: record.sequence, outcome: 'passed', detail: '', stated: null }
      try {
        one.stated = await checkRecord(leaf, record)
      } catch (error) {
        one.outcome = 'failed'
        one.detail = String(error.message ?? error)
      }
      found.records.push(one)
    }
    const broken = found.records.find((one) => one.outcome === 'failed')
    found.outcome = broken === undefined ? 'passed' : 'failed'
    found.detail = broken?.detail ?? ''
  } catch (error) {
    found.detail = String(error.message ?? error)
  }
  return found
}

function instant(micros) {
  const date = new Date(Math.floor(micros / 1000))
  return Number.isNaN(date.getTime()) ? '' : date.toISOString()
}

async function verified() {
  const result = { outcome: 'failed', detail: '', entries: [], facts: null, evidence: null }
  try {
    const evidence = JSON.parse(document.getElementById('evidence').textContent)
    if (evidence.format !== 'veritwin/evidence@v1') throw new Error('the format is unknown')
    result.evidence = evidence
    const note = parsedNote(evidence.checkpoint)
    result.facts = { origin: note.origin, size: String(note.size), root: base64(note.root) }
    const key = await keyOf(evidence.vkey)
    if (key.name !== note.origin) throw new Error('the key names another log')
    const signed = await isSigned(note, key)
    if (evidence.entries.length === 0) throw new Error('no entry: it proves nothing')
    for (const entry of evidence.entries) result.entries.push(await checkEntry(entry, note))
    const broken = result.entries.find((entry) => entry.outcome === 'failed')
    if (signed === false) throw new Error('the signature of the checkpoint does not hold')
    if (broken !== undefined) throw new Error(broken.detail)
    result.outcome = signed === null ? 'unavailable' : 'passed'
  } catch (error) {
    result.detail = String(error.message ?? error)
  }
  return result
}

function row(cells, tag, outcome) {
  const line = document.createElement('tr')
  if (outcome !== undefined) line.dataset.outcome = outcome
  for (const text of cells) {
    const cell = document.createElement(tag)
    cell.textContent = text
    line.append(cell)
  }
  return line
}

function fill(id, head, rows) {
  const table = document.getElementById(id)
  table.tHead.replaceChildren(row(head, 'th'))
  table.tBodies[0].replaceChildren(...rows)
}

function list(id, facts) {
  const place = document.getElementById(id)
  place.replaceChildren()
  for (const [name, value] of facts.filter(([, value]) => value !== undefined)) {
    const term = document.createElement('dt')
    const said = document.createElement('dd')
    term.textContent = name
    said.textContent = value
    place.append(term, said)
  }
}

function recordRows(entry, record, t) {
  const where = [String(entry.index), String(record.sequence)]
  const said = record.outcome === 'passed' ? t.holds : t.broken
  const stated = record.stated
  if (stated === null) return [row(['', '', record.detail, '', '', ...where, said], 'td', 'failed')]
  const line = (time, what, value, quality) =>
    row([time, stated.device, what, value, quality, ...where, said], 'td', record.outcome)
  const readings = (stated.readings ?? []).map(([key, at, value, quality]) =>
    line(instant(at), key, JSON.stringify(value), quality),
  )
  if (readings.length > 0) return readings
  return [line(instant(stated.received_at_us), stated.kind, stated.detail ?? '', '')]
}

function show(result, language) {
  const t = TEXTS[language]
  document.documentElement.lang = language
  document.title = t.title
  for (const element of document.querySelectorAll('[data-text]')) {
    element.textContent = t[element.dataset.text]
  }
  for (const button of document.querySelectorAll('#languages button')) {
    button.setAttribute('aria-pressed', String(button.lang === language))
  }
  document.getElementById('verdict').dataset.outcome = result.outcome
  document.getElementById('verdict-text').textContent = t[result.outcome]
  document.getElementById('verdict-detail').textContent = result.detail
  list('facts', [
    [t.origin, result.facts?.origin],
    [t.vkey, result.evidence?.vkey],
    [t.size, result.facts?.size],
    [t.root, result.facts?.root],
  ])
  list('stated', [
    [t.madeAt, result.evidence?.made_at],
    ...Object.entries(result.evidence?.about ?? {}),
  ])
  const head = [t.time, t.device, t.what2, t.value, t.quality, t.entry, t.record, t.outcome]
  const records = result.entries.flatMap((entry) =>
    entry.records.flatMap((record) => recordRows(entry, record, t)),
  )
  fill('readings', head, records)
  const entries = result.entries.map((entry) => {
    const said = entry.outcome === 'passed' ? t.holds : t.broken
    const cells = [String(entry.index), entry.sealed, entry.leaf, said]
    return row(cells, 'td', entry.outcome)
  })
  fill('entries', [t.entry, t.sealed, t.leaf, t.outcome], entries)
}

function languageOf(wanted) {
  for (const one of wanted) {
    if (/^zh/i.test(one)) return 'zh-Hant'
    const found = Object.keys(TEXTS).find((known) => one.toLowerCase().startsWith(known))
    if (found !== undefined) return found
  }
  return 'en'
}

async function start() {
  const result = await verified()
  const place = document.getElementById('languages')
  for (const [language, name] of Object.entries(NAMES)) {
    const button = document.createElement('button')
    button.type = 'button'
    button.lang = language
    button.textContent = name
    button.addEventListener('click', () => show(result, language))
    place.append(button, ' ')
  }
  show(result, languageOf(navigator.languages ?? ['en']))
}

void start()
