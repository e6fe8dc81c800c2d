// What a plan makes of the beginning of a file, before anything is stored.
import { i18n } from '@lingui/core'

import type { ImportPreview } from '../../api/types'
import { Tag } from '../../ui/layout'
import { Instant } from '../../ui/time'

export function Preview({ shown }: { shown: ImportPreview }) {
  const unknown = new Set(
    shown.readings.filter((one) => !one.device_known).map((one) => one.device),
  )
  return (
    <section aria-label={i18n.t('What would be stored')}>
      <h3>{i18n.t('What would be stored')}</h3>
      {shown.readings.length === 0 && (
        <p className="hint">{i18n.t('Nothing of the first rows: look at what is refused.')}</p>
      )}
      {unknown.size > 0 && (
        <p className="hint">
          {i18n.t('There is no such device, or you may not write for it: {devices}', {
            devices: [...unknown].slice(0, 5).join(', '),
          })}
        </p>
      )}
      <ul className="plain-list scrolls">
        {shown.readings.map((one) => (
          <li key={`${one.device} ${one.key} ${one.at}`}>
            <span>
              {one.device} · {one.key}
            </span>
            <span>{typeof one.value === 'string' ? one.value : JSON.stringify(one.value)}</span>
            <Instant at={one.at} />
            {one.quality !== 'good' && <Tag>{one.quality}</Tag>}
          </li>
        ))}
      </ul>
      {shown.refused.length > 0 && (
        <>
          <h3>{i18n.t('What would be refused')}</h3>
          <ul className="plain-list scrolls">
            {shown.refused.map((row) => (
              <li key={row.row}>
                <span>
                  {row.column > 0
                    ? i18n.t('Row {row}, column {column}', { row: row.row, column: row.column })
                    : i18n.t('Row {row}', { row: row.row })}
                </span>
                <span>{row.detail}</span>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  )
}
