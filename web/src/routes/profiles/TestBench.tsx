// The test bench of a decoder: payloads, and what it makes of them as one types.
import { i18n } from '@lingui/core'
import { Button, Group, Select, Textarea, TextInput } from '@mantine/core'
import { useDebouncedValue } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'

import { decoderTestQuery } from '../../api/profileQueries'
import type { DecoderSample, SampleResult } from '../../api/types'
import { useAllowed } from '../../app/Allowed'
import { Icon } from '../../ui/icons'
import { Failure, Tag } from '../../ui/layout'

const TYPING_MS = 400
const SAMPLES_MAX = 20

export const emptySample = (): DecoderSample => ({
  name: '',
  format: 'hex',
  data: '',
  topic: '',
  expected: null,
})

export type Tried = { results: SampleResult[]; error: unknown }

/** What a decoder makes of its samples, once one has stopped typing. */
export function useTried(source: string, samples: DecoderSample[]): Tried {
  const may = useAllowed()('decoder.write')
  const [typed] = useDebouncedValue({ source, samples }, TYPING_MS)
  const query = useQuery(decoderTestQuery(typed.source, typed.samples, may))
  return { results: query.data?.items ?? [], error: query.error }
}

export function TestBench(props: {
  samples: DecoderSample[]
  tried: Tried
  onChange: (samples: DecoderSample[]) => void
}) {
  const { samples, tried, onChange } = props
  const change = (index: number, part: Partial<DecoderSample>) =>
    onChange(samples.map((one, at) => (at === index ? { ...one, ...part } : one)))
  return (
    <section className="block" aria-label={i18n.t('Test bench')}>
      <div className="block-head">
        <h2>{i18n.t('Test bench')}</h2>
        <Button
          size="xs"
          variant="default"
          leftSection={<Icon name="plus" size={14} />}
          disabled={samples.length >= SAMPLES_MAX}
          onClick={() => onChange([...samples, emptySample()])}
        >
          {i18n.t('Add a sample')}
        </Button>
      </div>
      {samples.length === 0 && (
        <p className="hint">
          {i18n.t(
            'Add a payload as your device sends it: what the decoder makes of it stands here.',
          )}
        </p>
      )}
      {tried.error !== null && <Failure error={tried.error} compact />}
      {samples.length === 0 && tried.results[0]?.fault?.kind === 'source' && (
        <Outcome result={tried.results[0]} />
      )}
      {samples.map((sample, index) => (
        <div className="bench" key={index}>
          <Group gap="xs" align="flex-end">
            <TextInput
              label={i18n.t('Name')}
              value={sample.name}
              maxLength={100}
              onChange={(event) => change(index, { name: event.currentTarget.value })}
            />
            <Select
              label={i18n.t('Written as')}
              data={[
                { value: 'hex', label: i18n.t('Hexadecimal') },
                { value: 'base64', label: 'Base64' },
                { value: 'text', label: i18n.t('Text') },
              ]}
              value={sample.format}
              allowDeselect={false}
              onChange={(value) => change(index, { format: value ?? 'hex' })}
            />
            <TextInput
              label={i18n.t('Topic')}
              placeholder="v1/devices/me/telemetry"
              value={sample.topic}
              maxLength={256}
              onChange={(event) => change(index, { topic: event.currentTarget.value })}
            />
            <Button
              variant="default"
              aria-label={i18n.t('Remove the sample')}
              onClick={() => onChange(samples.filter((_, at) => at !== index))}
            >
              <Icon name="trash" size={14} />
            </Button>
          </Group>
          <Textarea
            label={i18n.t('Payload')}
            autosize
            minRows={2}
            maxRows={8}
            spellCheck={false}
            value={sample.data}
            onChange={(event) => change(index, { data: event.currentTarget.value })}
          />
          <Textarea
            label={i18n.t('What should come out')}
            description={i18n.t('As JSON; leave it empty to look only.')}
            autosize
            minRows={1}
            maxRows={8}
            spellCheck={false}
            value={sample.expected ?? ''}
            onChange={(event) => {
              const text = event.currentTarget.value
              change(index, { expected: text === '' ? null : text })
            }}
          />
          {tried.results[index] && <Outcome result={tried.results[index]} />}
        </div>
      ))}
    </section>
  )
}

/** JSON for people; what is none stays as it is. */
function shown(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2)
  } catch {
    return text
  }
}

function Outcome({ result }: { result: SampleResult }) {
  const { fault, decoded, matches } = result
  const place =
    fault !== null && fault.line !== null
      ? i18n.t('line {line}, column {column}', { line: fault.line, column: fault.column ?? 1 })
      : null
  return (
    <div role="status">
      {matches !== null && (
        <Tag tone={matches ? 'neutral' : 'warn'}>
          {matches ? i18n.t('as it should be') : i18n.t('not what should come out')}
        </Tag>
      )}
      {fault !== null ? (
        <pre className="bench-result" data-fault>
          {place !== null && <strong>{place}: </strong>}
          {fault.detail}
          {fault.thrown !== null && `\n${fault.thrown}`}
        </pre>
      ) : (
        <pre className="bench-result">{shown(decoded ?? '[]')}</pre>
      )}
    </div>
  )
}
