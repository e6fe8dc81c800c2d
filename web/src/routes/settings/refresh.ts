// What has to be read anew after a change of one's own account.
import { queryClient } from '../../api/queries'

export function refreshAccount() {
  return queryClient.invalidateQueries({ queryKey: ['account'] })
}

/** The second factor may have been what everything else waited for. */
export async function strengthened() {
  await Promise.all([refreshAccount(), queryClient.invalidateQueries({ queryKey: ['session'] })])
}
