// A plain field for a script, with the numbers of its lines. A line can be marked.
import { useId, useRef } from 'react'

const ROWS_MIN = 12

export function CodeArea(props: {
  label: string
  value: string
  onChange: (text: string) => void
  /** The line, from 1, that something is wrong with. */
  marked?: number | null
  readOnly?: boolean
}) {
  const id = useId()
  const gutter = useRef<HTMLDivElement>(null)
  const lines = Math.max(props.value.split('\n').length, ROWS_MIN)
  return (
    <div className="code-field">
      <label className="field-label" htmlFor={id}>
        {props.label}
      </label>
      <div className="code-area">
        <div className="code-lines" ref={gutter} aria-hidden>
          {Array.from({ length: lines }, (_, index) => (
            <span key={index} data-marked={props.marked === index + 1 || undefined}>
              {index + 1}
            </span>
          ))}
        </div>
        <textarea
          id={id}
          value={props.value}
          rows={ROWS_MIN}
          wrap="off"
          spellCheck={false}
          autoCapitalize="off"
          autoComplete="off"
          readOnly={props.readOnly ?? false}
          onChange={(event) => props.onChange(event.currentTarget.value)}
          onScroll={(event) => {
            if (gutter.current) gutter.current.scrollTop = event.currentTarget.scrollTop
          }}
        />
      </div>
    </div>
  )
}
