// The page of somebody whose organisation asks for a second factor that they do not have yet.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'

import { accountQuery } from '../../api/queries'
import { Failure, Loading } from '../../ui/layout'
import { Door } from '../Door'
import { SecondFactors } from './SecondFactors'

export function SetUpSecondFactor() {
  const account = useQuery(accountQuery)
  return (
    <Door
      title={i18n.t('One more step')}
      lead={i18n.t('Your organisation asks everybody for a second factor. Set one up to go on.')}
    >
      {account.isPending && <Loading rows={3} />}
      {account.isError && <Failure error={account.error} compact />}
      {account.data && <SecondFactors account={account.data} />}
    </Door>
  )
}
