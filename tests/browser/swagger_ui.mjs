// A person at FastAPI's /docs, in a real browser. Settings come as JSON on standard input:
// {"chromium": PATH, "page": URL, "operation": ID, "calls": [{"scheme": NAME, "values": [TEXT, ...]}], "elsewhere": URL or
// null, "screenshot": PATH or null}. Each call authorizes with what it types into the fields of the scheme, or with
// nothing, and executes the operation; what the page then shows goes to standard output, with what the browser
// complained about. What begins with "elsewhere" is asked for really.
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import puppeteer from 'puppeteer-core'

const SWAGGER_UI = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))
const CDN = /^https:\/\/cdn\.jsdelivr\.net\/npm\/swagger-ui-dist@5\/(swagger-ui(?:-bundle)?\.(?:js|css))$/
const SECONDS = 60

const { chromium, page: address, operation, calls, elsewhere, screenshot } = JSON.parse(readFileSync(0, 'utf8'))
const block = `#operations-${operation}`

// What the page loads from elsewhere is answered from the package, under the address the page gave: the policy of the
// page is judged on that. Anything else from elsewhere does not exist.
async function answerForElsewhere(request) {
  const url = request.url()
  if (url.startsWith(new URL('/', address).href) || url.startsWith('data:')) return request.continue()
  if (elsewhere !== null && url.startsWith(elsewhere)) return request.continue()
  const file = CDN.exec(url)?.[1]
  if (file === undefined) return request.respond({ status: 404, body: '' })
  const contentType = file.endsWith('.css') ? 'text/css' : 'text/javascript'
  return request.respond({ status: 200, contentType, body: readFileSync(join(SWAGGER_UI, file)) })
}

const click = (page, selector) => page.locator(selector).setTimeout(SECONDS * 1000).click()
const gone = (page, selector) => page.waitForSelector(selector, { hidden: true })

async function authorize(page, { scheme, values }) {
  await click(page, '.auth-wrapper .btn.authorize')
  // The dialog has one container for each scheme: the one under our scheme's name.
  const form = await page.waitForSelector(`xpath///div[@class="auth-container"][.//h4[contains(., "${scheme}")]]`)
  const logout = await form.$('xpath/.//button[. = "Logout"]')
  if (logout) await logout.click()
  if (values.length) {
    await form.waitForSelector('input')
    const inputs = await form.$$('input[type=text], input[type=password], input:not([type])')
    for (const [position, value] of values.entries()) await inputs[position].type(value)
    for (const label of await form.$$('label[for*="checkbox"]')) await label.click()  // each scope
    await (await form.waitForSelector('button.authorize')).click()
    await form.waitForSelector('xpath/.//button[. = "Logout"]')
  }
  await click(page, '.modal-ux .btn-done')
  await gone(page, '.modal-ux')
}

async function execute(page) {
  const response = `${block} .live-responses-table tr.response`
  await click(page, `${block} .execute`)
  await page.waitForSelector(`${response} .highlight-code code`)
  const text = (selector) => page.$eval(`${response} ${selector}`, (element) => element.textContent)
  return { status: parseInt(await text('.response-col_status')), body: JSON.parse(await text('.highlight-code code')) }
}

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  pipe: true, // a browser ends when its pipe does, even if this script is killed
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
  timeout: SECONDS * 1000,
})
try {
  const page = await browser.newPage()
  page.setDefaultTimeout(SECONDS * 1000)
  await page.setViewport({ width: 1000, height: 1090 })
  const complaints = []
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()))
  page.on('pageerror', (error) => complaints.push(String(error)))
  await page.setRequestInterception(true)
  page.on('request', answerForElsewhere)
  await page.goto(address)
  await click(page, `${block} .opblock-summary-control`)
  await click(page, `${block} .try-out__btn`)
  await page.locator(`${block} .parameters input`).fill('42')
  const shown = []
  for (const call of calls) {
    await authorize(page, call)
    shown.push(await execute(page))
    if (screenshot && shown.at(-1).status === 200) await page.screenshot({ path: screenshot })
    await click(page, `${block} .btn-clear`)
    await gone(page, `${block} .live-responses-table`)
  }
  console.log(JSON.stringify({ shown, complaints }))
} finally {
  await browser.close()
}
