// The privacy policy, sentence by sentence, each promise with its live state and its evidence.
import { i18n } from '@lingui/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from '@tanstack/react-router'

import { legalQuery } from '../api/privacyQueries'
import { promisesQuery } from '../api/queries'
import type { PromiseRow } from '../api/types'
import { Failure, Loading, Page } from '../ui/layout'
import { PromiseMark } from '../ui/marks'
import { Age } from '../ui/time'
import { Words } from './Legal'

/** How a promise stands now; its page has the evidence. */
function Kept({ promise }: { promise: PromiseRow }) {
  const leaf = promise.evidence?.ledger_index
  return (
    <span>
      <Link
        to="/promises"
        search={{ select: promise.id }}
        title={promise.reason ?? promise.evidence?.summary ?? promise.text}
      >
        {promise.id}
      </Link>{' '}
      <PromiseMark state={promise.state} />{' '}
      {promise.checked_at && <Age at={promise.checked_at} />}
      {leaf != null && <span className="dim"> {i18n.t('Entry {index}', { index: leaf })}</span>}
    </span>
  )
}

export function PolicyPage() {
  const text = useQuery(legalQuery('privacy', i18n.locale))
  const promises = useQuery(promisesQuery)
  if (text.isPending || promises.isPending) {
    return (
      <Page title={i18n.t('Privacy policy')}>
        <Loading rows={10} />
      </Page>
    )
  }
  if (text.isError) return <Failure error={text.error} />
  if (promises.isError) return <Failure error={promises.error} />
  const states = new Map(promises.data.items.map((one) => [one.id, one]))
  return (
    <Page
      title={i18n.t('Privacy policy')}
      lead={i18n.t('What we promise, sentence by sentence, and whether it holds now.')}
      actions={
        <Link to="/promises" className="button">
          {i18n.t('Promises')}
        </Link>
      }
    >
      <article className="block legal" lang={text.data.language}>
        {text.data.blocks.slice(1).map((block, at) =>
          block.kind === 'heading' ? (
            <h2 key={at}>{block.sentences[0]?.text}</h2>
          ) : (
            <ul key={at} className="plain">
              {block.sentences.map((sentence, place) => (
                <li key={place} className="setting">
                  <span>
                    <Words text={sentence.text} />
                  </span>
                  <span>
                    {sentence.promises.map((id) => {
                      const promise = states.get(id)
                      return promise && <Kept key={id} promise={promise} />
                    })}
                  </span>
                </li>
              ))}
            </ul>
          ),
        )}
      </article>
    </Page>
  )
}
