// Actions in words, grouped by what they are about. The names themselves stand in the records, in
// the API and in the policies, so pages show them beside the words.
import { i18n } from '@lingui/core'

/** What actions are about, in the order of the pages, with how their names begin. */
const AREAS = {
  devices: ['device', 'decoder', 'package', 'attribute', 'credential', 'telemetry', 'stream'],
  twins: ['twin'],
  alerts: ['alert', 'rule'],
  proof: ['ledger', 'key', 'promise'],
  access: ['user', 'invitation', 'api_key', 'role', 'grant', 'group', 'access', 'owner'],
  records: ['activity', 'hold', 'incident', 'breach', 'request', 'support'],
  governance: ['governance', 'notice'],
  organisation: [
    'tenant',
    'identity_provider',
    'certificate',
    'provisioning',
    'route',
    'system',
    'metrics',
    'brand',
    'contact',
    'plan',
  ],
  oneself: ['session', 'account'],
} as const

export type Area = keyof typeof AREAS

export function areaLabel(area: Area): string {
  const labels: Record<Area, string> = {
    devices: i18n.t('Devices and values'),
    twins: i18n.t('Twins'),
    alerts: i18n.t('Alerts and rules'),
    proof: i18n.t('Ledger, keys and promises'),
    access: i18n.t('People and access'),
    records: i18n.t('Records, incidents and support'),
    governance: i18n.t('Governance'),
    organisation: i18n.t('The organisation'),
    oneself: i18n.t('One’s own account'),
  }
  return labels[area]
}

/** The actions of each area that has any. What no area knows stands with the organisation. */
export function byArea(actions: readonly string[]): [Area, string[]][] {
  const areas = Object.keys(AREAS) as Area[]
  const areaOf = (action: string) => {
    const [begin = ''] = action.split('.')
    return areas.find((area) => (AREAS[area] as readonly string[]).includes(begin))
  }
  return areas
    .map((area): [Area, string[]] => [
      area,
      actions.filter((action) => (areaOf(action) ?? 'organisation') === area),
    ])
    .filter(([, found]) => found.length > 0)
}

function aboutThings(): Record<string, string> {
  return {
    'device.list': i18n.t('List devices'),
    'device.read': i18n.t('Read a device'),
    'device.create': i18n.t('Add devices'),
    'device.claim': i18n.t('Claim devices'),
    'device.return': i18n.t('Give claimed devices back, or take them back'),
    'device.import': i18n.t('Import devices from a file'),
    'decoder.read': i18n.t('See device profiles and their decoders'),
    'decoder.write': i18n.t('Write device profiles and their decoders'),
    'device.update': i18n.t('Change devices'),
    'device.delete': i18n.t('Remove devices'),
    'device.command': i18n.t('Send commands to devices'),
    'package.read': i18n.t('See packages for devices'),
    'package.write': i18n.t('Keep and delete packages'),
    'attribute.read': i18n.t('Read attributes'),
    'attribute.write': i18n.t('Write attributes'),
    'credential.list': i18n.t('List a device’s credentials'),
    'credential.create': i18n.t('Make credentials for devices'),
    'credential.delete': i18n.t('Take credentials away'),
    'credential.update': i18n.t('Disable credentials, or say until when they count'),
    'telemetry.read': i18n.t('Read values and history'),
    'telemetry.read_personal': i18n.t('Read personal or undeclared series'),
    'telemetry.export': i18n.t('Export values'),
    'telemetry.write': i18n.t('Write values in bulk'),
    'stream.read': i18n.t('See what is declared of streams'),
    'stream.declare': i18n.t('Declare streams and make rules for them'),
    'twin.list': i18n.t('List twins'),
    'twin.read': i18n.t('Look at a twin'),
    'twin.import': i18n.t('Import buildings'),
    'twin.bind': i18n.t('Place devices in a twin'),
    'twin.write_geometry': i18n.t('Store a twin’s geometry'),
    'twin.delete': i18n.t('Delete twins'),
    'alert.list': i18n.t('List alerts'),
    'alert.read': i18n.t('Read an alert'),
    'alert.acknowledge': i18n.t('Acknowledge alerts'),
    'rule.list': i18n.t('List rules'),
    'rule.read': i18n.t('Read a rule'),
    'rule.write': i18n.t('Make, change and delete rules'),
    'ledger.read': i18n.t('Read the ledger and papers'),
    'ledger.export': i18n.t('Export the ledger'),
    'ledger.evidence': i18n.t('Search what is sealed and take evidence away'),
    'ledger.mail': i18n.t('Say which auditors are mailed checkpoints'),
    'destruction.create': i18n.t('Destroy readings for good'),
    'destruction.read': i18n.t('See destructions and their certificates'),
    'retention.read': i18n.t('See how long readings are kept'),
    'request.fulfil': i18n.t('Do what a data subject asked for'),
    'request.own': i18n.t('Ask for rights over own data'),
    'request.read': i18n.t('See requests of data subjects'),
    'request.send': i18n.t('Ask for rights without signing in'),
    'request.write': i18n.t('Answer requests of data subjects'),
    'retention.write': i18n.t('Change how long readings are kept'),
    'key.read': i18n.t('See which key protects what'),
    'key.manage': i18n.t('Bring, hold, rotate or revoke keys'),
    'promise.read': i18n.t('Read the promises'),
    'promise.check': i18n.t('Run a promise’s check'),
  }
}

function aboutPeople(): Record<string, string> {
  return {
    'user.list': i18n.t('List people'),
    'user.invite': i18n.t('Invite people'),
    'invitation.list': i18n.t('List open invitations'),
    'invitation.delete': i18n.t('Withdraw invitations'),
    'user.update': i18n.t('Change people’s roles'),
    'user.delete': i18n.t('Remove people'),
    'user.erase': i18n.t('Erase an underage account'),
    'api_key.list': i18n.t('List API keys'),
    'api_key.create': i18n.t('Make API keys'),
    'api_key.delete': i18n.t('Revoke API keys'),
    'role.read': i18n.t('Read roles'),
    'role.write': i18n.t('Make and change roles'),
    'grant.read': i18n.t('Read grants'),
    'grant.write': i18n.t('Give and take grants'),
    'group.read': i18n.t('Read workspaces and groups'),
    'group.write': i18n.t('Make and change workspaces and groups'),
    'access.explain': i18n.t('Ask why somebody may do something'),
    'owner.appoint': i18n.t('Make and remove owners'),
    'session.read': i18n.t('See one’s own session'),
    'session.create': i18n.t('Sign in'),
    'session.confirm': i18n.t('Confirm who one is'),
    'session.delete': i18n.t('Sign out'),
    'session.join': i18n.t('Take up an invitation'),
    'session.leave': i18n.t('Leave an organisation'),
    'session.switch': i18n.t('Go to another organisation'),
    'account.read': i18n.t('Read one’s own account'),
    'account.update': i18n.t('Change one’s own account'),
    'account.secure': i18n.t('Change how one signs in'),
    'consent.give': i18n.t('Agree to a purpose'),
    'consent.read': i18n.t('Read what people agreed to'),
    'consent.record': i18n.t('Record a withdrawn consent'),
    'consent.use': i18n.t('Use an optional field of a person'),
    'consent.withdraw': i18n.t('Withdraw a consent'),
    'consent.withdraw_by_link': i18n.t('Withdraw a consent by a mailed link'),
    'legal.publish': i18n.t('Publish a version of the policy'),
    'legal.read': i18n.t('Read the versions of the policy'),
    'legal.show': i18n.t('Show a published text'),
    'notice.see': i18n.t('See an announcement'),
  }
}

function aboutTheOrganisation(): Record<string, string> {
  return {
    'activity.read': i18n.t('Read activity records'),
    'activity.export': i18n.t('Export activity records'),
    'analytics.read': i18n.t('See figures of use'),
    'collection.read': i18n.t('See public zones'),
    'collection.write': i18n.t('Set public zones'),
    'register.read': i18n.t('Read the registers'),
    'register.write': i18n.t('Enter into the registers'),
    'register.approve': i18n.t('Approve entries of the registers'),
    'hold.list': i18n.t('List holds'),
    'hold.request': i18n.t('Ask for a hold'),
    'hold.approve': i18n.t('Approve a hold'),
    'hold.release': i18n.t('Release a hold'),
    'breach.notify': i18n.t('Send notices of a breach'),
    'governance.approve': i18n.t('Approve policies and accept risks'),
    'governance.attest': i18n.t('Say that one has read a policy'),
    'governance.read': i18n.t('Read the governance workspace'),
    'governance.see': i18n.t('Read policies in force and notices'),
    'governance.write': i18n.t('Write in the governance workspace'),
    'notice.write': i18n.t('Write notices of the service'),
    'incident.list': i18n.t('List incidents'),
    'incident.read': i18n.t('Read an incident'),
    'incident.open': i18n.t('Open incidents'),
    'incident.update': i18n.t('Add notes to incidents and close them'),
    'support.read': i18n.t('See tickets and what support did'),
    'support.manage': i18n.t('Open tickets and let support in'),
    'support.serve': i18n.t('Serve customers at the support desk'),
    'support.break_glass': i18n.t('Ask for access nobody granted'),
    'tenant.read': i18n.t('Read the organisation’s facts'),
    'tenant.update': i18n.t('Change the organisation’s settings'),
    'tenant.delete': i18n.t('Ask for the end of the organisation'),
    'tenant.export': i18n.t('Export the whole organisation'),
    'tenant.list_below': i18n.t('List the tenants below'),
    'tenant.create_below': i18n.t('Make tenants below'),
    'tenant.update_below': i18n.t('Change tenants below'),
    'tenant.invite_below': i18n.t('Invite into tenants below'),
    'system.read': i18n.t('Read the system’s facts'),
    'metrics.read': i18n.t('Read metrics'),
    'identity_provider.read': i18n.t('Read the sign-in provider'),
    'identity_provider.write': i18n.t('Set the sign-in provider'),
    'certificate.read': i18n.t('See certificates of host names'),
    'certificate.write': i18n.t('Hand in certificates of host names'),
    'provisioning.read': i18n.t('See how devices come in by themselves'),
    'provisioning.write': i18n.t('Say how devices come in by themselves'),
    'route.read': i18n.t('See where messages go'),
    'route.write': i18n.t('Say where messages go'),
    'route.deliver': i18n.t('Open, resend and discard parked messages'),
    'brand.read': i18n.t('Read the brand'),
    'brand.write': i18n.t('Change the brand'),
    'contact.read': i18n.t('Read messages'),
    'contact.delete': i18n.t('Delete messages'),
    'plan.read': i18n.t('Read plans'),
    'plan.write': i18n.t('Make and change plans'),
  }
}

/** What the platform does by itself, and what nobody has to be signed in for: in records only. */
function aboutThePlatform(): Record<string, string> {
  return {
    'account.recover': i18n.t('Recover or move an account'),
    'activity.purge': i18n.t('Delete records past their time'),
    'alert.evaluate': i18n.t('Raise and clear alerts'),
    'api.missing': i18n.t('Ask for something that is not there'),
    'attribute.report': i18n.t('Report attributes, as the device'),
    'brand.show': i18n.t('Show the brand of a host name'),
    'clock.advance': i18n.t('Move the simulated clock'),
    'contact.send': i18n.t('Write to whoever answers'),
    'device.authenticate': i18n.t('Find the device behind a credential'),
    'device.provision': i18n.t('Let a device in that comes by itself'),
    'device.offer': i18n.t('Let itself be claimed, as the device'),
    'device.presence': i18n.t('Note when a device was last seen'),
    'device.watch': i18n.t('Watch what a device sends, as it comes'),
    'device.rpc': i18n.t('Call or answer, as the device'),
    'device.speak_for': i18n.t('Speak for devices behind it, as the gateway'),
    'incident.raise': i18n.t('Raise a security alert'),
    'ledger.maintain': i18n.t('Destroy what of the ledger is past its time'),
    'ledger.seal': i18n.t('Seal batches into the ledger'),
    'link.inspect': i18n.t('Look into a one-time link'),
    'link.issue': i18n.t('Issue an administrator link'),
    'link.redeem': i18n.t('Take a one-time link up'),
    'mail.send': i18n.t('Send queued mail'),
    'records.gap': i18n.t('Records that could not be written'),
    'session.purge': i18n.t('Delete expired sessions and links'),
    'system.restore': i18n.t('Restore from a backup'),
    'system.maintain': i18n.t('Back up, restore, migrate, diagnose'),
    'telemetry.maintain': i18n.t('Tidy the store of values'),
    'tenant.create': i18n.t('Create a tenant'),
    'tenant.list': i18n.t('List all tenants'),
  }
}

/** An action in words; its name when there are none. */
export function actionLabel(action: string): string {
  return (
    aboutThings()[action] ??
    aboutPeople()[action] ??
    aboutTheOrganisation()[action] ??
    aboutThePlatform()[action] ??
    action
  )
}
