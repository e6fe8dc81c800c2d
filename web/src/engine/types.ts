// What the engine takes and gives. It knows no React, no network and no product vocabulary beyond
// storeys, spaces, elements and markers. Coordinates are metres, Z up, as in the twin model.
export type Vec3 = [number, number, number]

export type ModelStorey = {
  id: string
  name: string
  index: number
  elevation_m: number
  height_m: number
}
export type ModelSpace = {
  id: string
  name: string
  storey_id: string | null
  elevation_m: number
  height_m: number | null
  polygon: [number, number][]
}
/** The part of `GET /v1/twins/{id}/model` that the engine draws. */
export type SceneModel = {
  bounds: { min: Vec3; max: Vec3 }
  storeys: ModelStorey[]
  spaces: ModelSpace[]
}

export type MarkerState =
  'normal' | 'critical' | 'high' | 'medium' | 'low' | 'stale' | 'offline' | 'simulated'
export type MarkerIcon =
  | 'temperature' | 'humidity' | 'co2' | 'power' | 'water' | 'air' | 'vibration' | 'switch'
  | 'weather' | 'motion' | 'smoke' | 'sensor'
export type Marker = {
  id: string
  spaceId?: string | null
  storeyId?: string | null
  position: Vec3
  icon: MarkerIcon
  label: string
  /** The value with its unit, as it is to be read; empty for none. */
  value: string
  state: MarkerState
  selected: boolean
}

/** Colours of spaces on their floors, CSS hex; null draws the space as "no value". */
export type Heat = { values: Map<string, string | null> }
/** Cuts away what lies west of x, south of y or above z; metres in the model's coordinates. */
export type Section = { axis: 'x' | 'y' | 'z'; at: number }
export type Theme = 'light' | 'dark'
export type View = '3d' | 'plan'
export type Pick =
  | { kind: 'marker'; id: string }
  | { kind: 'space'; id: string }
  | { kind: 'element'; id: string }
  | null
export type Target = { kind: 'marker' | 'space' | 'element' | 'storey'; id: string }

export type SceneOptions = {
  theme: Theme
  /** Shadows and smooth edges; `auto` leaves them out where no graphics hardware draws. */
  quality?: 'auto' | 'full' | 'plain'
  /** No flights, no storey animation. Defaults to the system's setting. */
  reducedMotion?: boolean
  onPick?: (pick: Pick) => void
  /** The marker or space under the pointer, for a tooltip; null when there is none. */
  onHover?: (pick: Pick, at: { x: number; y: number }) => void
  /** A dragged marker was let go of here (see `placing`). */
  onPlace?: (place: { position: Vec3; spaceId: string | null; storeyId: string | null }) => void
  /** What lies over the picture; what is framed keeps clear of it. */
  covered?: () => Rect[]
  /** WebGL is not there or was lost; the table view is the way on. */
  onFailure?: (reason: string) => void
}

/** The scene. Every call is cheap and draws at most one frame later; an idle scene draws none. */
export type Scene = {
  loadModel(model: SceneModel): void
  /** Shows a converted building; extruded rooms stay when it holds no triangles. */
  loadGeometry(glb: ArrayBuffer): Promise<void>
  setMarkers(markers: Marker[]): void
  setHeat(heat: Heat | null): void
  isolateStorey(id: string | null): void
  /** 0 closed, 1 storeys apart by about their own height. */
  explode(factor: number): void
  setSection(section: Section | null): void
  setView(view: View): void
  readonly view: View
  select(target: Target | null): void
  flyTo(target: Target | null): void
  /** The next click reports a place through `onPlace` in place of a pick. */
  setPlacing(placing: boolean): void
  setTheme(theme: Theme): void
  resize(): void
  dispose(): void
  /** Frames drawn so far; stands still while nothing changes. */
  readonly frames: number
}

/** CSS pixels, from the top left of the picture. */
export type Rect = { x: number; y: number; width: number; height: number }
