// The engine inside React: one canvas, loaded on demand, every prop handed over as it changes.
import { i18n } from '@lingui/core'
import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef, useState } from 'react'

import type {
  Heat,
  Marker,
  Pick,
  Rect,
  Scene,
  SceneModel,
  Section,
  Target,
  Vec3,
  View,
} from '../engine/types'

export type Place = { position: Vec3; spaceId: string | null; storeyId: string | null }
export type SceneViewProps = {
  label: string
  model: SceneModel
  geometry: ArrayBuffer | null
  markers: Marker[]
  heat: Heat | null
  storey: string | null
  section: Section | null
  explode: number
  view: View
  selected: Target | null
  /** A change of `token` flies to the selection. */
  fly: { target: Target | null; token: number }
  placing: boolean
  onPick: (pick: Pick) => void
  onPlace: (place: Place) => void
  tooltip: (pick: Pick) => { title: string; value: string } | null
}

/** What lies over the picture, by its class. */
const TOOLS = '.view-switch, .scene-tools, .cut-slider, .ladder, .legend, .stage-sides'

function coveredOf(canvas: HTMLCanvasElement): Rect[] {
  const own = canvas.getBoundingClientRect()
  const tools = canvas.closest('.stage')?.querySelectorAll(TOOLS) ?? []
  return [...tools]
    .map((tool) => tool.getBoundingClientRect())
    .filter(({ width, height }) => width > 0 && height > 0)
    .map(({ x, y, width, height }) => ({ x: x - own.x, y: y - own.y, width, height }))
}

type Tip = { x: number; y: number; title: string; value: string }

export function SceneView(props: SceneViewProps) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const [scene, setScene] = useState<Scene | null>(null)
  const [failure, setFailure] = useState<string | null>(null)
  const [tip, setTip] = useState<Tip | null>(null)
  const scheme = useComputedColorScheme('light')
  const latest = useRef(props)
  useEffect(() => {
    latest.current = props
  })

  useEffect(() => {
    const element = canvas.current
    if (element === null) return
    let made: Scene | null = null
    let gone = false
    const observer = new ResizeObserver(() => made?.resize())
    import('../engine')
      .then(({ createScene }) => {
        if (gone) return
        made = createScene(element, {
          theme:
            document.documentElement.dataset['mantineColorScheme'] === 'dark' ? 'dark' : 'light',
          onPick: (pick) => latest.current.onPick(pick),
          onPlace: (place) => latest.current.onPlace(place),
          onHover: (pick, at) => {
            const text = latest.current.tooltip(pick)
            setTip(text && { ...text, ...at })
          },
          covered: () => coveredOf(element),
          onFailure: setFailure,
        })
        observer.observe(element)
        setScene(made)
      })
      .catch((error: unknown) => setFailure(error instanceof Error ? error.message : String(error)))
    return () => {
      gone = true
      observer.disconnect()
      made?.dispose()
      setScene(null)
    }
  }, [])

  useEffect(() => scene?.setTheme(scheme), [scene, scheme])
  useEffect(() => scene?.loadModel(props.model), [scene, props.model])
  useEffect(() => {
    if (scene === null || props.geometry === null) return
    scene.loadGeometry(props.geometry).catch((error: unknown) => {
      console.warn('geometry not shown', error)
    })
  }, [scene, props.geometry, props.model])
  useEffect(() => scene?.setView(props.view), [scene, props.view])
  useEffect(() => scene?.isolateStorey(props.storey), [scene, props.storey, props.model])
  useEffect(() => scene?.explode(props.explode), [scene, props.explode])
  useEffect(() => scene?.setSection(props.section), [scene, props.section])
  useEffect(() => scene?.setHeat(props.heat), [scene, props.heat, props.model])
  useEffect(() => scene?.setMarkers(props.markers), [scene, props.markers, props.model])
  useEffect(() => scene?.select(props.selected), [scene, props.selected, props.model])
  useEffect(() => scene?.setPlacing(props.placing), [scene, props.placing])
  const { fly } = props
  useEffect(() => {
    if (fly.token > 0) scene?.flyTo(fly.target)
  }, [scene, fly])

  if (failure !== null) {
    return (
      <div className="scene-failure" role="status">
        <p>{i18n.t('The 3D view is not available in this browser.')}</p>
        <p className="dim">{i18n.t('The table view shows the same rooms, devices and values.')}</p>
      </div>
    )
  }
  return (
    <div className="scene-host">
      <canvas ref={canvas} className="scene-canvas" tabIndex={0} aria-label={props.label} />
      {tip && (
        <div className="scene-tip" style={{ left: tip.x, top: tip.y }} aria-hidden="true">
          <span>{tip.title}</span>
          <strong className="num">{tip.value}</strong>
        </div>
      )}
    </div>
  )
}
