// Short names for the schemas of the contract: the only place that knows how they are spelt.
import type { components } from './schema'

type Schemas = components['schemas']

export type Operations = Answer<Schemas['OperationsBody']>
export type ScrubFinding = Answer<Schemas['FindingBody']>
export type ScrubRun = Answer<Schemas['ScrubBody']>
export type TenantUsage = Answer<Schemas['TenantUsageBody']>
export type UsageDay = Answer<Schemas['DayBody']>
export type UsageQuota = Answer<Schemas['QuotaBody']>
export type Value = number | boolean | string | { [key: string]: unknown } | unknown[] | null

/** What an answer says: every member is there, what has no value is null, JSON is a `Value`. */
export type Answer<T> = unknown extends T
  ? Value
  : T extends readonly (infer Item)[]
    ? Answer<Item>[]
    : T extends object
      ? { [K in keyof T]-?: Answer<Exclude<T[K], undefined>> }
      : T

export type Point3 = [number, number, number]

export type AccessGrant = Answer<Schemas['GrantBody']>
export type AccessScope = Answer<Schemas['AccessScopeBody']>
export type AccessScopeInput = Schemas['AccessScopeBody']
export type Account = Answer<Schemas['AccountBody']>
export type Activity = Answer<Schemas['ActivityBody']>
export type Alert = Answer<Schemas['AlertBody']>
export type AlertCount = Answer<Schemas['AlertCountBody']>
export type AlertFilter = 'attention' | 'active' | 'unacknowledged' | 'open' | 'all'
export type ApiKey = Answer<Schemas['ApiKeyBody']>
export type Call = Answer<Schemas['CallBody']>
export type Condition = Answer<Schemas['ConditionBody']>
export type Connection = Answer<Schemas['ConnectionBody']>
export type CustomRole = Answer<Schemas['CustomRoleBody']>
export type Declaration = Device['declaration']
export type Credential = Answer<Schemas['CredentialBody']>
export type CustomerKey = Answer<Schemas['CustomerKeyBody']>
export type Destruction = Answer<Schemas['DestructionBody']>
export type DestructionPreview = Answer<Schemas['DestructionPreviewBody']>
export type DestructionScope = Schemas['DestructionScopeBody']
export type Retention = Answer<Schemas['RetentionBody']>
export type RetentionEnd = Answer<Schemas['RetentionEndBody']>
export type RetentionRule = Answer<Schemas['RetentionRuleBody']>
export type DeviceClaim = Answer<Schemas['DeviceClaimBody']>
export type DeviceAuthority = Answer<Schemas['AuthorityBody']>
export type ProvisionProfile = Answer<Schemas['ProvisionProfileBody']>
export type RouteDestination = Answer<Schemas['RouteDestinationBody']>
export type RouteRule = Answer<Schemas['RouteRuleBody']>
export type RouteAttribute = Answer<Schemas['RouteAttributeBody']>
export type RouteCount = Answer<Schemas['RouteCountBody']>
export type ParkedMessage = Answer<Schemas['ParkedBody']>
export type Device = Omit<Answer<Schemas['DeviceBody']>, 'position'> & { position: Point3 | null }
export type DeviceGroup = Answer<Schemas['GroupBody']>
export type DecoderSample = Answer<Schemas['SamplePayloadBody']>
export type DeviceProfile = Answer<Schemas['DeviceProfileBody']>
export type DeviceProfileSettings = Answer<Schemas['DeviceProfileFields']>
export type DeviceProfileVersion = Answer<Schemas['DeviceProfileVersionBody']>
export type DevicePatch = Schemas['UpdateBody']
export type EdgeKey = Answer<Schemas['EdgeKeyBody']>
export type Element = Omit<Answer<Schemas['ElementBody']>, 'position'> & { position: Point3 | null }
export type Explanation = Answer<Schemas['ExplanationBody']>
export type OptIn = Answer<Schemas['OptInBody']>
export type PublicZone = Answer<Schemas['ZoneBody']>
export type RegisterEntry = Answer<Schemas['RegisterEntryBody']>
export type SubjectRequest = Answer<Schemas['SubjectRequestBody']>
export type RequestHistory = Answer<Schemas['RequestHistoryBody']>
export type TenantEnd = Answer<Schemas['TenantEndBody']>
export type Kept = Answer<Schemas['KeptBody']>
export type Mailbox = Answer<Schemas['MailboxBody']>
export type Import = Answer<Schemas['ImportBody']>
export type ImportPlan = Schemas['ImportPlan']
export type ImportPreview = Answer<Schemas['PreviewBody']>
export type ImportResult = Answer<Schemas['ImportedBody']>
export type Grant = Answer<Schemas['SupportGrantBody']>
export type Hold = Answer<Schemas['HoldBody']>
export type Breach = Answer<Schemas['BreachBody']>
export type BreachFields = Breach['content']
export type Control = Answer<Schemas['ControlBody']>
export type Evidence = Answer<Schemas['EvidenceRecordBody']>
export type Framework = Answer<Schemas['FrameworkBody']>
export type Notice = Answer<Schemas['NoticeBody']>
export type Policy = Answer<Schemas['PolicyBody']>
export type RegisteredCertificate = Answer<Schemas['RegisteredCertificateBody']>
export type Risk = Answer<Schemas['RiskBody']>
export type Task = Answer<Schemas['TaskBody']>
export type Incident = Answer<Schemas['IncidentBody']>
export type Invitation = Answer<Schemas['InvitationBody']> & { role: Role }
export type Invited = Answer<Schemas['InvitedBody']>
export type KeyStatus = Answer<Schemas['KeyBody']>
export type Latest = Answer<Schemas['LatestItem']>
export type Ledger = Answer<Schemas['LedgerBody']>
export type LedgerEntry = Answer<Schemas['EntryBody']>
export type LedgerPlace = Answer<Schemas['PlaceBody']>
export type LedgerProof = Answer<Schemas['ProofBody']>
export type Mailing = Answer<Schemas['MailingBody']>
export type MailKey = Answer<Schemas['MailKeyBody']>
export type SentMail = Answer<Schemas['SentBody']>
export type NewDevice = Schemas['CreateDeviceBody']
export type NewRule = Schemas['RuleBody']
export type Networks = Answer<Schemas['NetworksBody']>
export type OpenSession = Answer<Schemas['OpenSessionBody']>
export type Package = Answer<Schemas['PackageBody']>
export type Papers = Answer<Schemas['PapersBody']>
export type PromiseRow = Answer<Schemas['PromiseBody']>
export type PromiseState = PromiseRow['state']
export type Quality = Latest['quality']
export type ProviderSettings = Answer<Schemas['ProviderBody']>
export type Refusal = Answer<Schemas['RefusalBody']>
export type Role = User['roles'][number]
export type Rights = Answer<Schemas['OwnRightsBody']>
export type Roles = Answer<Schemas['RolesBody']>
export type Rule = Omit<Answer<Schemas['StoredRuleBody']>, 'condition'> & { condition: Condition }
export type SampleResult = Answer<Schemas['SampleResultBody']>
export type Stream = Answer<Schemas['StreamBody']>
export type StreamCounts = Answer<Schemas['StreamCountsBody']>
export type StreamDeclaration = Answer<Schemas['DeclarationBody']>
export type StreamRule = Answer<Schemas['StoredStreamRuleBody']>
export type StreamSubject = Answer<Schemas['SubjectBody']>
export type StreamSubjectInput = Schemas['SubjectBody']
export type NewStreamRule = Schemas['StreamRuleBody']
export type SeriesRef = Schemas['SeriesBody']
export type Session = Answer<Schemas['SessionBody']>
export type SecurityAlert = Answer<Schemas['SecurityAlertBody']>
export type SupportArea = Grant['areas'][number]
export type Ticket = Answer<Schemas['TicketBody']>
export type DeskGrant = Answer<Schemas['DeskBody']>
export type SparkplugMetric = Answer<Schemas['MetricBody']>
export type SparkplugNode = Answer<Schemas['SparkplugBody']>
export type Space = Omit<Answer<Schemas['SpaceBody']>, 'polygon'> & { polygon: [number, number][] }
export type Storey = Answer<Schemas['StoreyBody']>
export type System = Answer<Schemas['SystemBody']>
export type Twin = Answer<Schemas['TwinBody']>
export type User = Answer<Schemas['UserBody']>
export type Welcome = Answer<Schemas['LinkFacts']>
export type Workspace = Answer<Schemas['WorkspaceBody']>
export type WelcomeAnswer = Schemas['WelcomeBody']

export type TwinModel = {
  twin_id: string
  name: string
  unit: string
  bounds: { min: Point3; max: Point3 }
  storeys: Storey[]
  spaces: Space[]
  elements: Element[]
}

/** A series in columns: raw ones have `value` and `quality`, buckets the rest. */
export type Series = Answer<Omit<Schemas['SeriesAnswer'], never>> & {
  at_ms?: number[]
  value?: Value[]
  quality?: Quality[]
  count?: number[]
  min?: (number | null)[]
  max?: (number | null)[]
  avg?: (number | null)[]
  last?: Value[]
  /** How many readings of each bucket are made up. */
  simulated?: number[]
  /** Where buckets end, and what else was asked of them. */
  to_ms?: number[]
  sum?: (number | null)[]
  delta?: (number | null)[]
  rate?: (number | null)[]
  time_weighted_avg?: (number | null)[]
  p50?: (number | null)[]
  p95?: (number | null)[]
}

/** RFC 9457, with what the platform adds. */
export type Problem = {
  type?: string
  title: string
  status: number
  detail?: string
  limit?: string | number
  position?: string | number
  row?: number
  errors?: { position: string; detail: string }[]
  column?: string | number
}
