// The page for addresses that lead nowhere.
import { i18n } from '@lingui/core'
import { Link } from '@tanstack/react-router'

import { Empty } from '../ui/layout'

export function NotFound() {
  return (
    <main className="page" id="main">
      <Empty
        icon="search"
        title={i18n.t('There is no page at this address')}
        action={
          <Link to="/" className="button">
            {i18n.t('To the command centre')}
          </Link>
        }
      />
    </main>
  )
}
