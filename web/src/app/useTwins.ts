// The buildings that the person in front may see; nothing is asked for that would be refused.
import { useQuery } from '@tanstack/react-query'

import { twinsQuery } from '../api/queries'
import { useMay } from './places'

export function useTwins() {
  return useQuery({ ...twinsQuery, enabled: useMay().somewhere('twin.list') })
}
