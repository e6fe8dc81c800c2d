// Words of which English has one for two things: other languages have two, so each has a message
// id of its own.
import { i18n } from '@lingui/core'

/** What a customer has: limits with a name. */
export const tariff = () =>
  i18n.t({ id: 'Plan (tariff)', message: 'Plan', comment: 'limits of a customer' })

/** An organisation that is neither suspended nor about to go. */
export const served = () =>
  i18n.t({ id: 'Active (organisation)', message: 'Active', comment: 'neither suspended nor going' })

/** A storey from above. */
export const floorPlan = () =>
  i18n.t({ id: 'Plan (drawing)', message: 'Plan', comment: 'a storey from above' })
