// Starts the real binary in a folder of its own, waits until it says that it listens, talks to it
// as a device would, and stops it.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import https from 'node:https'
import path from 'node:path'
import tls from 'node:tls'
import { fileURLToPath } from 'node:url'

import { until } from './runner.js'

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..')
const BINARY = process.env.VERITWIN_BINARY ?? path.join(ROOT, 'target/debug/veritwin')
const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 20_000
const OUTPUT_CHARS_MAX = 200_000

/**
 * @typedef {object} Facts what `run.json` holds
 * @property {string} https
 * @property {string} mqtts
 * @property {string} ca
 * @property {{ tenant: string, user: string, password: string, ledger_vkey: string }} [demo]
 */

export class Platform {
  /** @param {'demo' | 'serve'} mode @param {string} folder @param {object} [env] more of it */
  static async start(mode, folder, env = {}) {
    if (!existsSync(BINARY)) {
      throw new Error(`${BINARY} is missing; cargo build -p veritwin-server makes it`)
    }
    await mkdir(folder, { recursive: true })
    const platform = new Platform(mode, folder, env)
    try {
      await platform.#listening()
    } catch (error) {
      await platform.stop()
      throw error
    }
    return platform
  }

  /** @param {string} mode @param {string} folder @param {object} env */
  constructor(mode, folder, env) {
    this.data = path.join(folder, 'data')
    this.output = ''
    this.env = {
      ...process.env,
      HOME: folder,
      VERITWIN__HTTP__PORT: '0',
      VERITWIN__MQTT__PORT: '0',
      VERITWIN__ARCHIVE__PORT: '0',
      VERITWIN__KEYS__ROOT_DIR: path.join(folder, 'root-keys'),
      ...env,
    }
    this.startedAt = Date.now()
    this.child = spawn(BINARY, [mode, '--data', this.data], {
      cwd: folder,
      env: this.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.output = (this.output + text).slice(-OUTPUT_CHARS_MAX)
      })
    }
    this.ended = new Promise((done) => {
      this.child.once('error', (error) => done(error.message))
      this.child.once('exit', (code, signal) => done(`exit ${code ?? signal}`))
    })
  }

  async #listening() {
    let ended = ''
    void this.ended.then((how) => {
      ended = String(how)
    })
    const file = path.join(this.data, 'run.json')
    /** @type {Facts} */
    this.facts = await until(
      'run.json',
      async () => {
        if (ended !== '') throw new Error(`the platform ended: ${ended}\n${this.output}`)
        const text = await readFile(file, 'utf8').catch(() => '')
        try {
          return text === '' ? null : JSON.parse(text)
        } catch {
          return null
        }
      },
      { timeoutMs: START_TIMEOUT_MS },
    )
    this.ca = await readFile(this.facts.ca, 'utf8')
  }

  get origin() {
    return this.facts.https
  }

  /** Runs another command of the binary against this platform's directory. */
  command(args) {
    return new Promise((done, failed) => {
      const child = spawn(BINARY, args, { env: this.env, stdio: ['ignore', 'pipe', 'pipe'] })
      let output = ''
      for (const stream of [child.stdout, child.stderr]) {
        stream.setEncoding('utf8').on('data', (text) => {
          output = (output + text).slice(-OUTPUT_CHARS_MAX)
        })
      }
      child.once('error', failed)
      child.once('exit', (code) => done({ code, output }))
    })
  }

  /** Sends readings over HTTPS with a device's token; answers the status. */
  report(token, values) {
    const body = JSON.stringify(values)
    return new Promise((done, failed) => {
      const request = https.request(
        `${this.origin}/api/v1/telemetry`,
        {
          method: 'POST',
          ca: this.ca,
          headers: {
            authorization: `Bearer ${token}`,
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          },
        },
        (response) => response.resume().once('end', () => done(response.statusCode)),
      )
      request.once('error', failed).end(body)
    })
  }

  /** Publishes one message over MQTT 3.1.1 at QoS 0, where a refusal is told to nobody. */
  async publish(token, topic, payload) {
    const { hostname, port } = new URL(`mqtts://${this.facts.mqtts}`)
    const text = (value) => {
      const bytes = Buffer.from(value)
      return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes])
    }
    const packet = (type, ...parts) => {
      const body = Buffer.concat(parts)
      if (body.length > 127) throw new Error('one byte of length is enough for a test')
      return Buffer.concat([Buffer.from([type, body.length]), body])
    }
    const socket = tls.connect({ host: hostname, port: Number(port), ca: this.ca })
    const answer = () => new Promise((done, failed) => socket.once('data', done).once('error', failed))
    const clean = Buffer.from([4, 0x82, 0, 60])
    socket.write(packet(0x10, text('MQTT'), clean, text('walk'), text(token)))
    await answer()
    socket.write(packet(0x30, text(topic), Buffer.from(payload)))
    // A ping is answered after what came before it.
    socket.write(packet(0xc0))
    await answer()
    socket.end(packet(0xe0))
  }

  async stop() {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill('SIGTERM')
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    await this.ended
    clearTimeout(timer)
  }
}
