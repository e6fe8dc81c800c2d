// The REST contract in the shape that openapi-typescript writes. `npm run schema` replaces this
// file from docs/reference/openapi.json.

type Json<T> = { headers: { [name: string]: unknown }; content: { 'application/json': T } }
type Empty = { headers: { [name: string]: unknown }; content?: never }
type Failure = {
  headers: { [name: string]: unknown }
  content: { 'application/problem+json': components['schemas']['Problem'] }
}
type Parameters<Path, Query> = { query?: Query; header?: never; path: Path; cookie?: never }
type Root<Query = never> = { query?: Query; header?: never; path?: never; cookie?: never }
type Read<R, P = Root> = {
  parameters: P
  requestBody?: never
  responses: { 200: Json<R>; default: Failure }
}
type Write<B, R, P = Root> = {
  parameters: P
  requestBody: { content: { 'application/json': B } }
  responses: { 200: Json<R>; default: Failure }
}
type Run<R, P = Root> = {
  parameters: P
  requestBody?: never
  responses: { 200: Json<R>; default: Failure }
}
type Remove<P> = { parameters: P; requestBody?: never; responses: { 204: Empty; default: Failure } }
type List<T> = { items: T[]; next_cursor: string | null }
type Page = { cursor?: string; limit?: number }
type ById = Parameters<{ id: string }, never>
type S = components['schemas']

export interface paths {
  '/v1/welcome/inspect': { post: Write<{ token: string }, S['Welcome']> }
  '/v1/welcome': { post: Write<S['WelcomeAnswer'], S['Session']> }
  '/v1/session': {
    get: Read<S['Session']>
    post: Write<{ email: string; password: string }, S['Session']>
    delete: Remove<Root>
  }
  '/v1/users': {
    get: Read<List<S['User']>>
    post: Write<S['NewUser'], { user: S['User']; link: string }>
  }
  '/v1/users/{id}': { delete: Remove<ById> }
  '/v1/api-keys': {
    get: Read<List<S['ApiKey']>>
    post: Write<S['NewApiKey'], { api_key: S['ApiKey']; secret: string }>
  }
  '/v1/api-keys/{id}': { delete: Remove<ById> }
  '/v1/devices': {
    get: Read<List<S['Device']>, Root<Page & { search?: string; twin_id?: string }>>
    post: Write<S['NewDevice'], { device: S['Device']; token: string }>
  }
  '/v1/devices/{id}': {
    get: Read<S['Device'], ById>
    patch: Write<S['DevicePatch'], S['Device'], ById>
    delete: Remove<ById>
  }
  '/v1/devices/{id}/credentials': {
    get: Read<List<S['Credential']>, ById>
    post: Write<{ kind: 'access_token' }, { credential: S['Credential']; token: string }, ById>
  }
  '/v1/devices/{id}/credentials/{cid}': {
    delete: Remove<Parameters<{ id: string; cid: string }, never>>
  }
  '/v1/devices/{id}/attributes': { get: Read<S['Attributes'], ById> }
  '/v1/twins': { get: Read<List<S['Twin']>> }
  '/v1/twins/{id}': { get: Read<S['Twin'], ById>; delete: Remove<ById> }
  '/v1/twins/{id}/model': { get: Read<S['TwinModel'], ById> }
  '/v1/twins/{id}/bindings/{device_id}': {
    put: Write<S['Binding'], S['Device'], Parameters<{ id: string; device_id: string }, never>>
    delete: Remove<Parameters<{ id: string; device_id: string }, never>>
  }
  '/v1/telemetry/latest': { post: Write<S['LatestQuery'], { items: S['Latest'][] }> }
  '/v1/telemetry/query': { post: Write<S['SeriesQuery'], { series: S['Series'][] }> }
  '/v1/telemetry/stats': { post: Write<S['StatsQuery'], { series: S['SeriesStats'][] }> }
  '/v1/rules': { get: Read<List<S['Rule']>>; post: Write<S['NewRule'], S['Rule']> }
  '/v1/rules/{id}': {
    get: Read<S['Rule'], ById>
    put: Write<S['NewRule'], S['Rule'], ById>
    delete: Remove<ById>
  }
  '/v1/alerts': { get: Read<List<S['Alert']>, Root<Page & { filter?: S['AlertFilter'] }>> }
  '/v1/alerts/{id}': { get: Read<S['Alert'], ById> }
  '/v1/alerts/acknowledge': {
    post: Write<{ ids: string[]; comment?: string }, { items: S['Alert'][] }>
  }
  '/v1/ledger': { get: Read<S['Ledger']> }
  '/v1/ledger/entries': { get: Read<List<S['LedgerEntry']>, Root<Page>> }
  '/v1/ledger/entries/{index}/proof': {
    get: Read<S['LedgerProof'], Parameters<{ index: number }, never>>
  }
  '/v1/ledger/papers': {
    get: Read<S['Papers'], Root<{ device_id: string; key: string; at: string }>>
  }
  '/v1/promises': { get: Read<List<S['Promise']>> }
  '/v1/promises/{id}/check': { post: Run<S['Promise'], ById> }
  '/v1/activity': { get: Read<List<S['Activity']>, Root<Page>> }
  '/v1/keys': { get: Read<List<S['KeyStatus']>> }
  '/v1/system': { get: Read<S['System']> }
}

export interface components {
  schemas: {
    Problem: {
      type?: string
      title: string
      status: number
      detail?: string
      limit?: string | number
      position?: string | number
      row?: number
      column?: string | number
    }
    Role: 'administrator' | 'operator'
    Severity: 'critical' | 'high' | 'medium' | 'low'
    Quality: 'good' | 'uncertain' | 'bad'
    Declaration: 'undeclared' | 'non_personal' | 'personal'
    Value: number | boolean | string | { [key: string]: unknown } | unknown[] | null
    Point3: [number, number, number]
    Welcome: { kind: 'first_administrator' | 'administrator' | 'invitation'; email?: string | null }
    WelcomeAnswer: {
      token: string
      organisation?: string
      email?: string
      name?: string
      password: string
    }
    Session: {
      user: { id: string; email: string; name: string | null; roles: S['Role'][] }
      tenant: { id: string; name: string; simulated: boolean }
      version: string
    }
    User: {
      id: string
      email: string
      name: string | null
      roles: S['Role'][]
      created_at?: string
    }
    NewUser: { email: string; name?: string; role: S['Role'] }
    ApiKey: {
      id: string
      name: string
      role: S['Role']
      created_at: string
      expires_at: string | null
      last_used_at: string | null
    }
    NewApiKey: { name: string; role: S['Role']; expires_at?: string }
    Device: {
      id: string
      name: string
      type: string | null
      twin_id: string | null
      space_id: string | null
      element_id: string | null
      position: S['Point3'] | null
      declaration: S['Declaration']
      created_at: string
      last_seen_at: string | null
      online: boolean
      keys: string[]
      units: { [key: string]: string }
    }
    NewDevice: {
      name: string
      type?: string
      twin_id?: string
      space_id?: string
      element_id?: string
      declaration?: S['Declaration']
      units?: { [key: string]: string }
    }
    DevicePatch: {
      name?: string
      type?: string
      declaration?: S['Declaration']
      units?: { [key: string]: string }
    }
    Credential: { id: string; kind: string; created_at: string; last_used_at?: string | null }
    Attributes: {
      client: { [key: string]: S['Value'] }
      shared: { [key: string]: S['Value'] }
      server: { [key: string]: S['Value'] }
    }
    ImportResult: {
      created: number
      updated: number
      tokens: { device: string; token: string }[]
    }
    Twin: {
      id: string
      name: string
      source: { kind: string; schema: string; sha256: string; bytes: number }
      counts: {
        storeys: number
        spaces: number
        elements: number
        sensors: number
        devices: number
      }
      geometry: 'none' | 'glb'
      active_alerts: number
      updated_at: string
    }
    TwinModel: {
      twin_id: string
      name: string
      unit: 'm'
      bounds: { min: S['Point3']; max: S['Point3'] }
      storeys: S['Storey'][]
      spaces: S['Space'][]
      elements: S['Element'][]
    }
    Storey: { id: string; name: string; index: number; elevation_m: number; height_m: number }
    Space: {
      id: string
      name: string
      long_name: string | null
      storey_id: string | null
      area_m2: number | null
      height_m: number | null
      elevation_m: number
      polygon: [number, number][]
    }
    Element: {
      id: string
      name: string
      class: string
      storey_id: string | null
      space_id: string | null
      position: S['Point3'] | null
    }
    Binding: { space_id?: string; element_id?: string; position?: S['Point3'] }
    LatestQuery: { device_ids?: string[]; twin_id?: string; keys?: string[] }
    Latest: { device_id: string; key: string; at: string; value: S['Value']; quality: S['Quality'] }
    SeriesRef: { device_id: string; key: string }
    SeriesQuery: {
      series: S['SeriesRef'][]
      from: string
      to: string
      bucket_ms?: number
      points_max?: number
      limit?: number
      order?: 'asc' | 'desc'
      cursor?: string
      shape?: 'points' | 'columns'
    }
    Series: {
      device_id: string
      key: string
      unit: string | null
      bucket_ms: number | null
      at_ms?: number[]
      value?: S['Value'][]
      quality?: S['Quality'][]
      count?: number[]
      min?: (number | null)[]
      max?: (number | null)[]
      avg?: (number | null)[]
      last?: S['Value'][]
    }
    StatsQuery: { series: S['SeriesRef'][]; from?: string; to?: string }
    SeriesStats: {
      device_id: string
      key: string
      count: number
      min: number | null
      max: number | null
      first_at: string | null
      last_at: string | null
    }
    RuleScope: { device_id?: string; device_type?: string; twin_id?: string }
    Condition:
      | {
          kind: 'threshold'
          key: string
          op: 'gt' | 'ge' | 'lt' | 'le'
          threshold: number
          hysteresis: number
          for_seconds: number
        }
      | { kind: 'no_data'; key?: string | null; after_seconds: number }
    NewRule: {
      name: string
      severity: S['Severity']
      enabled: boolean
      scope: S['RuleScope']
      condition: S['Condition']
      notify_emails: string[]
      what_helps: string
    }
    Rule: S['NewRule'] & { id: string }
    AlertState:
      'active_unacknowledged' | 'active_acknowledged' | 'cleared_unacknowledged' | 'cleared'
    AlertFilter: 'active' | 'unacknowledged' | 'open' | 'all'
    Alert: {
      id: string
      rule_id: string
      rule_name: string
      severity: S['Severity']
      state: S['AlertState']
      device_id: string
      device_name: string
      key: string | null
      unit: string | null
      twin_id: string | null
      space_id: string | null
      storey_id: string | null
      message: string
      value: S['Value']
      threshold: number | null
      raised_at: string
      cleared_at: string | null
      acknowledged_at: string | null
      acknowledged_by: string | null
      what_helps: string | null
      events: { at: string; kind: string; by: string | null; comment: string | null }[]
    }
    Ledger: {
      log_id: string
      origin: string
      vkey: string
      tree_size: number
      root_hash: string
      checkpoint: string
      last_sealed_at: string | null
      pending_records: number
      archive: {
        connected: boolean
        shared_host: boolean
        subscribed: boolean
        address: string | null
      }
    }
    LedgerEntry: {
      index: number
      kind: string
      batch_id: string | null
      first_sequence: number | null
      last_sequence: number | null
      count: number
      from: string | null
      to: string | null
      payload_sha256: string | null
      payload_bytes: number | null
      records_root: string | null
      leaf_hash: string
      sealed_at: string
    }
    LedgerProof: {
      index: number
      tree_size: number
      leaf: string
      leaf_hash: string
      path: string[]
      checkpoint: string
      vkey: string
    }
    Papers: {
      reading: S['Latest']
      device: { id: string; name: string } | null
      credential: { id: string; kind: string } | null
      durable: { position: number; received_at: string } | null
      batch: {
        batch_id: string
        first_sequence: number
        last_sequence: number
        count: number
        payload_sha256: string
      } | null
      leaf: { index: number; leaf_hash: string } | null
      checkpoint: { tree_size: number; root_hash: string } | null
      key: { tenant_kek_version: number; dek_class: string; dek_epoch?: string | null } | null
    }
    PromiseState: 'proven' | 'failing' | 'stale' | 'not_evidenced' | 'not_applicable'
    Promise: {
      id: string
      text: string
      source: string
      feature: string
      state: S['PromiseState']
      evidence: { summary: string; details: unknown; ledger_index: number | null } | null
      checked_at: string | null
      next_check_at: string | null
      reason: string | null
    }
    Activity: {
      id: string
      at: string
      actor: string
      action: string
      resource: string
      outcome: string
      request_id: string
    }
    KeyStatus: {
      name: string
      protects: string
      version: number | string
      created_at: string | null
      state: string
    }
    System: {
      version: string
      started_at: string
      simulated_clock: string | null
      certificates: { name: string; not_after: string; own: boolean; fingerprint?: string }[]
      listeners: { name: string; address: string }[]
      stores: { [name: string]: unknown }
    }
  }
}
