// A chart on a canvas: hover, click, lasso, drag, keys, legend. What the pointer does is drawn here, not by the kernel.

const REACH = 14  // pixels from the pointer within which a point is touched
const FLIGHT_MS = 320, FRAME_MS = 40  // the picture of a running training shares its cores
const LEAST = 240          // pixels of a column; on narrower pages columns stand one below the other
const DWELL_MS = 250, VOLUME = 0.5  // of a point's sound
let muted = false
const ROLES = ["ink", "muted", "faint", "paper", "grid"]
const RED_GREEN_BLUE = /[\d.]+/g

/** A colour of any CSS notation as [red, green, blue], 0 to 255. */
function channels(colour) {
    const pen = channels.pen ??= document.createElement("canvas").getContext("2d", {willReadFrequently: true})
    pen.fillStyle = "#000"
    pen.fillStyle = colour
    const hex = pen.fillStyle
    if (hex.startsWith("#")) return [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16))
    return hex.match(RED_GREEN_BLUE).slice(0, 3).map(Number)
}

const luminance = ([r, g, b]) => (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255

/** The page's colours: JupyterLab's, VS Code's or Colab's variables, else black on white. */
function theme(node) {
    const style = getComputedStyle(node)
    const papers = ["--jp-layout-color0", "--vscode-editor-background", "--colab-primary-surface-color"]
    const paper = papers.map(name => style.getPropertyValue(name).trim()).find(Boolean) ?? "#ffffff"
    const dark = luminance(channels(paper)) < 0.5
    return {
        paper, dark,
        ink: dark ? "#e8ebef" : "#1d2733",
        muted: dark ? "#a3adb8" : "#66717e",
        faint: dark ? "#5a636e" : "#c3cad2",
        grid: dark ? "#2c333b" : "#e8ebef",
    }
}

/** On dark paper dark colours are mixed with white until they stand out. */
function readable(colour, dark) {
    let mixed = channels(colour)
    for (let i = 0; dark && luminance(mixed) < 0.42 && i < 12; i++) mixed = mixed.map(c => c + 0.12 * (255 - c))
    return `rgb(${mixed.map(Math.round).join(",")})`
}

/** Size a canvas in screen pixels, whatever the screen's density, and return a cleared pen in CSS pixels. */
function pen(canvas, width, height) {
    const density = window.devicePixelRatio || 1
    const pixels = [Math.round(width * density), Math.round(height * density)]
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels
    const context = canvas.getContext("2d")
    context.setTransform(density, 0, 0, density, 0, 0)
    context.clearRect(0, 0, width, height)
    return context
}

/** Round numbers from low to high, about `count` of them. */
function ticks(low, high, count) {
    const rough = (high - low) / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough))
    const step = power * [1, 2, 2.5, 5, 10].find(m => m * power >= rough * 0.999)
    const found = []
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step)
    return found
}

const SUPERSCRIPT = {"-": "⁻", ...Object.fromEntries([..."⁰¹²³⁴⁵⁶⁷⁸⁹"].map((sign, digit) => [digit, sign]))}
/** "0.25", "−3", and "2·10⁻⁵" for what would be a row of zeros. */
function tickText(value) {
    const round = +value.toPrecision(6)
    if (round === 0 || (Math.abs(round) >= 1e-3 && Math.abs(round) < 1e6)) return String(round).replace("-", "−")
    const [digits, power] = round.toExponential().split("e")
    return `${digits.replace("-", "−")}·10${[...power.replace("+", "")].map(sign => SUPERSCRIPT[sign]).join("")}`
}

/** A value in the words of an axis. */
const worded = (axis, value) => (axis.ticks === "percent" ? `${tickText(100 * value)}\u00a0%` : tickText(value))

/** The height of a line at a place across, NaN beyond its ends. */
function heightAt({x, y}, at) {
    const i = x.findIndex(value => value >= at)
    if (x[i] === at) return y[i]
    return i > 0 ? y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1]) : NaN
}

/** Call `draw` when the size, the theme or the screen's density changes, at most once a frame; returns [ask, stop]. */
function redrawn(node, draw) {
    let asked = 0
    const ask = () => { asked ||= requestAnimationFrame(now => { asked = 0; draw(now) }) }
    const size = new ResizeObserver(ask), look = new MutationObserver(ask)
    size.observe(node)
    look.observe(document.body, {attributes: true})
    look.observe(document.documentElement, {attributes: true})
    window.addEventListener("resize", ask)
    const stop = () => {
        cancelAnimationFrame(asked)
        size.disconnect()
        look.disconnect()
        window.removeEventListener("resize", ask)
    }
    return [ask, stop]
}

/** Send a trait to the kernel at most every `wait_ms`; the last value always arrives. */
function sender(model, wait_ms) {
    let timer = 0, last = 0
    const send = () => { timer = 0; last = performance.now(); model.save_changes() }
    return () => { timer ||= setTimeout(send, Math.max(0, last + wait_ms - performance.now())) }
}

const corners = places => (p, r) => {
    places.forEach(([x, y], i) => (i ? p.lineTo(x * r, y * r) : p.moveTo(x * r, y * r)))
    p.closePath()
}
/** A cross of four equal arms, turned by an angle. */
const cross = angle => corners([0, 1, 2, 3].flatMap(i => [[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4]].map(([x, y]) => {
    const a = angle + i * Math.PI / 2
    return [x * Math.cos(a) - y * Math.sin(a), x * Math.sin(a) + y * Math.cos(a)]
})))
// In the order of `style.MARKERS`: o s ^ D v P X p.
const SHAPES = [
    (p, r) => p.arc(0, 0, r, 0, 7),
    (p, r) => p.rect(-0.86 * r, -0.86 * r, 1.72 * r, 1.72 * r),
    corners([[0, -1.15], [1.08, 0.8], [-1.08, 0.8]]),
    corners([[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]]),
    corners([[0, 1.15], [1.08, -0.8], [-1.08, -0.8]]),
    cross(0),
    cross(Math.PI / 4),
    corners([...Array(5)].map((_, i) => [1.12 * Math.sin(i * 1.2566), -1.12 * Math.cos(i * 1.2566)])),
]

function inside(x, y, polygon) {
    let within = false
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
        const [ax, ay] = polygon[i], [bx, by] = polygon[j]
        if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) within = !within
    }
    return within
}

/** The kernel's description; bytes are numbers. */
function unpack(value) {
    if (ArrayBuffer.isView(value))
        return new Float32Array(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength))
    if (Array.isArray(value)) return value.map(unpack)
    if (value === null || typeof value !== "object") return value
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, unpack(inner)]))
}

const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i])
const between = (a, b, share) => a.map((value, i) => value + share * (b[i] - value))
const edges = (shares, size) => {
    const total = shares.reduce((a, b) => a + b, 0)
    return shares.reduce((found, share) => [...found, found.at(-1) + share / total * size], [0])
}

function render({model, el}) {
    const root = element("div", "avid-chart", el), stage = element("div", "avid-stage", root)
    const under = element("canvas", "avid-marks", stage), over = element("canvas", "avid-touch", stage)
    const legend = element("div", "avid-legend", root), told = element("div", "avid-told", root)
    told.setAttribute("aria-live", "polite")
    over.dataset.lmSuppressShortcuts = "true"  // else JupyterLab takes arrows and Enter for its cells

    const send = sender(model, 30), stills = new Map(), stamps = new Map(), tips = []
    let chart = {plots: []}, boxes = [], begun = 0, flies = false, colours = theme(root), font = "", listed = ""
    let lasso = null, pressed = null, held = null, pointer = [0, 0], cross = NaN
    const focus = () => model.get("focused")
    const paint = colour => (ROLES.includes(colour) ? colours[colour] : readable(colour, colours.dark))

    // What can be touched: points and bars, numbered in each mark from 0. Marks of one chart share the numbers.
    const touchable = () => boxes.flatMap(box => box.marks.filter(mark => ["Points", "Bars"].includes(mark.type))
        .map(mark => ({box, mark, count: (mark.x ?? mark.left).length})))
    const guide = () => boxes.flatMap(box => box.marks).find(mark => mark.drag)
    const points = () => touchable().filter(({mark}) => mark.type === "Points")
    const shown = (mark, i) => focus() < 0 || mark.kind[i] === focus()
    const place = (box, mark, i) => (mark.type === "Points" ? [box.X(mark.x[i]), box.Y(mark.y[i])]
        : [box.X((mark.left[i] + mark.right[i]) / 2), box.Y((mark.bottom[i] + mark.top[i]) / 2)])

    /** A new description. Points that are elsewhere fly there, and so do the limits, from where they are now. */
    function arrive() {
        const next = unpack(model.get("_chart")), still = window.matchMedia("(prefers-reduced-motion: reduce)").matches
        let departs = false
        next.plots.forEach((plot, i) => {
            const before = chart.plots[i], flyers = one => one?.marks.find(mark => mark.travel)
            const now = flyers(plot), old = flyers(before)
            plot.goal = [plot.x.low, plot.x.high, plot.y.low, plot.y.high]
            plot.limits = plot.since = plot.goal
            if (!now) return
            now.goal = [now.x, now.y]
            now.since = now.goal
            if (still || !old || old.x.length !== now.x.length) return
            departs ||= !same(plot.goal, before.goal) || !same(now.x, old.goal[0]) || !same(now.y, old.goal[1])
            Object.assign(plot, {limits: before.limits, since: before.since});
            [now.x, now.y] = [old.x, old.y]
            now.since = old.since
        })
        if (departs) {
            begun = performance.now()
            for (const plot of next.plots) {
                plot.since = plot.limits
                for (const mark of plot.marks.filter(mark => mark.travel)) mark.since = [mark.x, mark.y]
            }
            flies = true
        }
        chart = next
        list()
        ask()
    }

    function move(now) {
        if (!flies) return
        const t = Math.min(1, Math.max(0, (now - begun) / FLIGHT_MS)), share = t * t * (3 - 2 * t)
        for (const plot of chart.plots) {
            plot.limits = between(plot.since, plot.goal, share)
            for (const mark of plot.marks.filter(mark => mark.travel))
                [mark.x, mark.y] = t === 1 ? mark.goal : mark.since.map((from, i) => between(from, mark.goal[i], share))
        }
        flies = t < 1
        if (flies) setTimeout(ask, FRAME_MS)
    }

    // Text and lines

    function write(p, words, x, y, colour, {align = "left", bold = false, size = 12, halo = false, room} = {}) {
        p.font = `${bold ? 650 : 400} ${size}px ${font}`
        p.textAlign = align
        if (halo) {
            p.lineJoin = "round"
            p.lineWidth = 3.5
            p.strokeStyle = colours.paper
            p.strokeText(words, x, y, room)
        }
        p.fillStyle = colour
        p.fillText(words, x, y, room)
    }

    function widest(p, texts, size, bold) {
        p.font = `${bold ? 650 : 400} ${size}px ${font}`
        return Math.max(0, ...texts.map(text => p.measureText(text).width))
    }

    function stroke(p, places, colour, wide = 1, dash = [], {fill = null, closed = false} = {}) {
        p.beginPath()
        let down = false
        for (const [x, y] of places) {
            if (!Number.isFinite(y + x)) { down = false; continue }
            if (down) p.lineTo(x, y)
            else p.moveTo(x, y)
            down = true
        }
        if (closed) p.closePath()
        if (fill) { p.fillStyle = fill; p.fill() }
        if (!wide) return
        p.setLineDash(dash)
        p.lineWidth = wide
        p.lineJoin = "round"
        p.strokeStyle = colour
        p.stroke()
        p.setLineDash([])
    }

    /** Places and texts along an axis. */
    function marked(axis, low, high, count) {
        if (axis.ticks === "none") return []
        if (typeof axis.ticks !== "string") return axis.ticks
        const round = ticks(low, high, count).filter(value => axis.ticks !== "whole" || value % 1 === 0)
        return round.map(value => [value, worded(axis, value)])
    }

    // Plots one below the other: row by row where each has a title, else by columns, whose title is that of the first.
    const byRows = () => chart.plots.every(plot => plot.title && plot.cell[2] === 1)
    const slot = ([row, column]) => (byRows() ? row * chart.columns.length + column : row + column * chart.rows.length)
    const slots = () => (byRows() ? chart.rows.flatMap(row => chart.columns.map(() => row))
        : chart.columns.flatMap(() => chart.rows))

    /** Where a plot lies and its scales. Margins hold what is written beside it. */
    function layout(p, plot, across, down) {
        const [x0, x1, y0, y1] = plot.limits, deep = plot.cell[2], column = stacked() ? 0 : plot.cell[1]
        const row = stacked() ? slot(plot.cell) : plot.cell[0]
        const top = down[row] + (plot.title ? 30 : 10)
        const bottom = down[row + deep] - (plot.x.ticks === "none" ? 6 : 22) - (plot.x.label ? 18 : 0)
        const rows = marked(plot.y, y0, y1, (bottom - top) / 42), [outer, end] = across.slice(column)
        const numbers = widest(p, rows.map(([, text]) => text), 11)
        const beside = plot.marks.map(mark => mark.end || (mark.across === "share" && mark.x > 1 && mark.words) || "")
        const room = widest(p, beside, 12, true)
        const left = outer + (rows.length ? 16 + numbers : 12) + (plot.y.label ? 18 : 0)
        const right = Math.max(left + 40, end - 12 - (room && room + 4))
        const box = {...plot, left, top, right, bottom, outer, wide: end - outer, rows, numbers}
        if (plot.equal) {  // the smaller scale fits both
            const wide = box.right - left, high = bottom - top
            const scale = Math.min(wide / (x1 - x0), high / (y1 - y0))
            box.left += (wide - (x1 - x0) * scale) / 2
            box.top += (high - (y1 - y0) * scale) / 2
            box.right = box.left + (x1 - x0) * scale
            box.bottom = box.top + (y1 - y0) * scale
        }
        box.X = x => box.left + (x - x0) / (x1 - x0) * (box.right - box.left)
        box.Y = y => box.bottom - (y - y0) / (y1 - y0) * (box.bottom - box.top)
        box.value = at => x0 + (at - box.left) / (box.right - box.left) * (x1 - x0)
        return box
    }

    function frame(p, box) {
        const {left, top, right, bottom, X, Y, limits: [x0, x1]} = box, muted = {size: 11}
        const heading = {bold: true, size: 13, room: box.wide - 14}
        if (box.title) write(p, box.title, box.outer + 10, top - 13, colours.ink, heading)
        for (const [value, text] of marked(box.x, x0, x1, (right - left) / 75)) {
            if (box.x.grid) stroke(p, [[X(value), top], [X(value), bottom]], colours.grid)
            write(p, text, X(value), bottom + 15, colours.muted, {align: "center", ...muted})
        }
        const named = typeof box.y.ticks !== "string"
        for (const [value, text] of box.rows) {
            if (box.y.grid) stroke(p, [[left, Y(value)], [right, Y(value)]], colours.grid)
            write(p, text, left - 7, Y(value) + 4, named ? colours.ink : colours.muted, {align: "right", ...muted})
        }
        const under = bottom + (box.x.ticks === "none" ? 17 : 33)
        const middle = (left + right) / 2, room = 2 * Math.min(middle - box.outer, box.outer + box.wide - middle) - 4
        if (box.x.label) write(p, box.x.label, middle, under, colours.muted, {align: "center", room})
        if (!box.y.label) return
        p.save()
        p.translate(box.equal ? left - 16 - box.numbers : box.outer + 14, (top + bottom) / 2)
        p.rotate(-Math.PI / 2)
        write(p, box.y.label, 0, 0, colours.muted, {align: "center"})
        p.restore()
    }

    // Marks, by their type

    const along = (box, xs, ys) => Array.from(xs, (x, i) => [box.X(x), box.Y(ys[i])])
    const DRAW = {
        Line(p, box, mark) {
            const places = along(box, mark.x, mark.y), colour = paint(mark.colour)
            p.globalAlpha = mark.alpha
            stroke(p, places, colour, mark.width, mark.dash)
            const dots = mark.dots || (places.length === 1 ? 2.5 : 0)
            for (const [x, y] of dots ? places : []) {
                p.beginPath()
                p.arc(x, y, dots, 0, 7)
                p.fillStyle = mark.hollow ? colours.paper : colour
                p.fill()
                p.lineWidth = 1
                p.strokeStyle = mark.hollow ? colour : colours.paper
                p.stroke()
            }
        },
        Area(p, box, mark) {
            const colour = paint(mark.colour), line = along(box, mark.x, mark.y), {left, right, top, bottom} = box
            const based = mark.base === null ? line
                : [[line[0]?.[0], box.Y(mark.base)], ...line, [line.at(-1)?.[0], box.Y(mark.base)]]
            const drags = box.marks.some(other => other.drag)
            const cut = drags ? Math.min(Math.max(box.X(model.get("guide")), left), right) : right + 9
            for (const [from, to, share] of [[left - 9, cut, drags ? 0.5 : 1], [cut, right + 9, 1.3]]) {
                p.save()
                p.beginPath()
                p.rect(from, top - 9, to - from, bottom - top + 18)
                p.clip()
                p.globalAlpha = share * mark.alpha
                stroke(p, based, colour, 0, [], {fill: colour, closed: true})
                p.restore()
            }
            stroke(p, line, colour, mark.width, [], {closed: mark.base === null})
        },
        Bars(p, box, mark) {
            p.globalAlpha = mark.alpha
            mark.left.forEach((left, i) => {
                const [a, b] = [box.X(left), box.X(mark.right[i])].sort((c, d) => c - d)
                const [high, low] = [box.Y(mark.bottom[i]), box.Y(mark.top[i])].sort((c, d) => c - d)
                p.fillStyle = paint(typeof mark.colours === "string" ? mark.colours : mark.colours[i])
                p.fillRect(a, high, Math.max(b - a, 1), Math.max(low - high, 1))
            })
        },
        Points(p, box, mark) {
            const selected = model.get("selected"), chosen = selected.length > 1 ? new Set(selected) : null
            const side = 2 * Math.ceil(1.5 * mark.radius + 2), density = window.devicePixelRatio || 1
            const bright = i => (!chosen || chosen.has(i)) && shown(mark, i)
            for (const lit of [false, true]) {  // the dimmed ones below
                p.globalAlpha = lit ? mark.alpha : 0.13
                for (let i = 0; i < mark.x.length; i++) {
                    if (bright(i) !== lit) continue
                    // Whole device pixels keep the stamps sharp, except in flight.
                    const [x, y] = place(box, mark, i).map(at => (flies ? at : Math.round(at * density) / density))
                    p.drawImage(stamp(mark, mark.kind[i], mark.shape[i], side), x - side / 2, y - side / 2, side, side)
                }
            }
            p.globalAlpha = 1
            for (const i of mark.ringed) ring(p, place(box, mark, i), mark.radius + 3.5, colours.ink, 1.8)
        },
        Text(p, box, mark) {
            const {words, size, bold, align, halo, shift: [dx, dy]} = mark, {left, right, top, bottom} = box
            let x = dx + (mark.across === "data" ? box.X(mark.x) : left + mark.x * (right - left))
            let y = -dy + (mark.up === "data" ? box.Y(mark.y) : bottom - mark.y * (bottom - top))
            if (halo) {  // it stays inside
                const wide = widest(p, [words], size, bold), before = wide * {left: 0, center: 0.5, right: 1}[align]
                x = Math.max(left + before + 2, Math.min(x, right - wide + before - 2))
                y = Math.max(top + 11, Math.min(y, bottom - 4))
            }
            write(p, words, x, y + 4, paint(mark.colour), {align, bold, size, halo, room: box.wide - 8})
        },
        Guide(p, box, mark) {
            if (mark.drag) return  // the pointer's layer has it
            const [x, y] = [box.X(mark.at), box.Y(mark.at)], {left, right, top, bottom} = box
            if (mark.axis === "x") stroke(p, [[x, top], [x, bottom]], paint(mark.colour), mark.width, mark.dash)
            else stroke(p, [[left, y], [right, y]], paint(mark.colour), mark.width, mark.dash)
            if (mark.axis === "y") write(p, mark.words, right - 3, y - 6, paint(mark.colour), {align: "right"})
        },
    }

    /** The words of upright guides that have room, in three rows, the last first. */
    function name(p, box) {
        const taken = []
        for (const {at, words, axis, drag, colour} of [...box.marks].reverse()) {
            if (axis !== "x" || drag || !words || at < box.limits[0] || at > box.limits[1]) continue
            const wide = widest(p, [words], 11), x = box.X(at), left = x + wide + 6 > box.right ? x - wide - 4 : x + 4
            const row = [0, 1, 2].find(r => !taken.some(t => t.row === r && left < t.right && left + wide > t.left))
            if (row === undefined) continue
            taken.push({row, left: left - 6, right: left + wide + 6})
            const ink = paint(colour === "muted" ? "ink" : colour)
            write(p, words, left, box.top + 8 + 13 * row, ink, {size: 11, halo: true})
        }
        const ends = box.marks.filter(mark => mark.end && mark.y.length)
            .map(mark => ({y: box.Y(mark.y.findLast(Number.isFinite)), text: mark.end, colour: paint(mark.colour)}))
            .sort((a, b) => a.y - b.y)
        for (let i = 1; i < ends.length; i++) ends[i].y = Math.max(ends[i].y, ends[i - 1].y + 13)
        const beyond = Math.max(0, (ends.at(-1)?.y ?? 0) - box.bottom)
        const bold = {bold: true, size: 11}
        for (const {text, y, colour} of ends) write(p, text, box.right + 6, y + 4 - beyond, colour, bold)
    }

    /** One small picture for each colour and shape, painted many times; a canvas is dear to make. */
    function stamp(mark, kind, shape, side) {
        const colour = mark.colours[kind], key = [colour, shape, mark.radius, colours.paper, devicePixelRatio].join()
        if (stamps.size > 500) stamps.clear()
        if (!stamps.has(key)) {
            const sheet = document.createElement("canvas"), q = pen(sheet, side, side)
            q.translate(side / 2, side / 2)
            q.beginPath()
            SHAPES[shape](q, mark.radius)
            q.fillStyle = paint(colour)
            q.fill()
            q.lineWidth = 0.7
            q.strokeStyle = colours.paper
            q.stroke()
            stamps.set(key, sheet)
        }
        return stamps.get(key)
    }

    function ring(p, [x, y], radius, colour, wide) {
        for (const [w, shade] of [[wide + 2, colours.paper], [wide, colour]]) {
            p.beginPath()
            p.arc(x, y, radius, 0, 7)
            p.lineWidth = w
            p.strokeStyle = shade
            p.stroke()
        }
    }

    const stacked = () => chart.columns?.length > 1 && stage.clientWidth < LEAST * chart.columns.length
    const size = () => [stage.clientWidth, chart.height * (stacked() ? chart.columns.length : 1)]

    function draw(now) {
        const [width, height] = size()
        if (!width || !height) return
        const before = colours.paper
        colours = theme(root)
        font = getComputedStyle(root).fontFamily
        move(now)
        stage.style.height = `${height}px`
        const p = pen(under, width, height), across = edges(stacked() ? [1] : chart.columns, width)
        const down = edges(stacked() ? slots() : chart.rows, height)
        boxes = chart.plots.map(plot => layout(p, plot, across, down))
        for (const box of boxes) {
            frame(p, box)
            for (const mark of box.marks) {
                p.save()
                if (mark.type !== "Text" || mark.halo) {
                    p.beginPath()
                    p.rect(box.left - 8, box.top - 8, box.right - box.left + 16, box.bottom - box.top + 16)
                    p.clip()
                }
                DRAW[mark.type](p, box, mark)
                p.restore()
            }
            name(p, box)
        }
        const crosses = boxes.some(box => box.crosshair)
        const hint = guide() ? "Arrows move the line."
            : points().length ? "Arrows move between points, Enter selects, Escape clears."
                + (crosses ? " Home or End shows the values of the curves there, arrows then move on." : "")
            : touchable().length ? "Arrows and Enter choose."
            : crosses ? "Arrows show the values of the curves." : ""
        over.setAttribute("aria-label", [chart.about, ...chart.plots.flatMap(figures), hint].join(" ").trim())
        over.setAttribute("role", hint ? "application" : "img")
        over.tabIndex = hint ? 0 : -1
        if (before !== colours.paper) list()
        touch()
    }

    /** What a plot says in figures: where named lines end, and what stands beside rows. */
    const figures = ({title, marks, y}) => {
        const ends = marks.filter(mark => mark.end && mark.y.length).map(mark =>
            `${mark.end} ${worded(y, +(mark.y.findLast(Number.isFinite) ?? NaN).toPrecision(3))}`)
        const beside = marks.filter(mark => mark.across === "share" && mark.x > 1)
            .map(mark => `${mark.name}: ${mark.words}`)
        return ends.length + beside.length ? [`${title}: ${[...ends, ...beside].join(", ")}.`] : []
    }

    /** What follows the pointer: the line that is dragged, rings, the lasso, and the words beside. */
    function touch() {
        const [width, height] = size()
        if (!width || !boxes.length) return
        const p = pen(over, width, height), hovered = lasso ? -1 : model.get("hovered"), clicked = model.get("clicked")
        for (const box of boxes.filter(one => one.marks.some(mark => mark.drag))) {
            const x = box.X(model.get("guide"))
            stroke(p, [[x, box.top - 4], [x, box.bottom]], colours.ink, 2)
            p.beginPath()
            p.arc(x, box.top - 4, 5, 0, 7)
            p.fillStyle = colours.ink
            p.fill()
        }
        let used = 0
        for (const box of crossed()) {
            const x = box.X(cross), {top, bottom, outer, wide} = box
            stroke(p, [[x, top], [x, bottom]], colours.ink)
            for (const mark of curves(box)) {
                const y = box.Y(heightAt(mark, cross))
                if (y >= top && y <= bottom) ring(p, [x, y], 3, paint(mark.colour), 2)
            }
            tip(used++, reading(box).join("\n"), "", [x, (top + bottom) / 2], [outer, outer + wide], height)
        }
        for (const [i, alpha] of [[clicked, 0.16], [hovered, 0.07]]) for (const {box, mark, count} of touchable()) {
            if (i < 0 || i >= count) continue
            if (mark.type === "Points") {
                const colour = i === hovered ? paint(mark.colours[mark.kind[i]]) : colours.ink
                ring(p, place(box, mark, i), mark.radius + 5, colour, 2.4)
            } else {
                const [a, b] = [box.X(mark.left[i]), box.X(mark.right[i])]
                p.fillStyle = colours.ink
                p.globalAlpha = alpha
                p.fillRect(a - 1, box.top, b - a + 2, box.bottom - box.top)
                p.globalAlpha = 1
            }
        }
        // The words stand once in each plot of points, beside the one nearest to the pointer; once over all bars.
        for (const box of boxes) {
            const far = ([x, y]) => Math.hypot(x - pointer[0], y - pointer[1])
            const spots = touchable().filter(one => one.box === box && hovered >= 0 && hovered < one.count)
                .map(({mark}) => [place(box, mark, hovered), mark.type]).sort((a, b) => far(a[0]) - far(b[0]))
            if (spots.length && (spots[0][1] === "Points" || !used))
                tip(used++, model.get("labels")[hovered] ?? "", stills.get(hovered), spots[0][0], [0, width], height)
        }
        tips.slice(used).forEach(one => { one.style.display = "none" })
        if (lasso) {
            const shade = colours.dark ? "rgba(255,255,255,.08)" : "rgba(0,0,0,.06)"
            stroke(p, lasso, colours.ink, 1.5, [5, 4], {fill: shade, closed: true})
        }
    }

    // The crosshair, at the same place across in all plots that have one.
    const crossed = () => boxes.filter(({crosshair, limits: [low, high]}) => crosshair && cross >= low && cross <= high)
    const curves = box => box.marks.filter(mark => mark.x?.length && (mark.end || mark.legend))
    const nearby = ({limits: [low, high]}, at) => Math.min(Math.floor(high), Math.max(Math.ceil(low), Math.round(at)))

    /** Where the crosshair is, and the values of the curves there: of curves of one name the last comes first. */
    function reading(box) {
        const rows = new Map()
        for (const mark of curves(box)) {
            const name = mark.end || mark.legend, value = heightAt(mark, cross)
            const words = Number.isFinite(value) ? worded(box.y, +value.toPrecision(3)) : "–"
            rows.set(name, [words, ...rows.get(name) ?? []])
        }
        const known = [...rows].filter(([, values]) => values.some(value => value !== "–"))
        const past = before => (before.length ? ` (earlier ${before.join(", ")})` : "")
        return [`${box.x.label} ${cross}`, ...known.map(([name, [now, ...before]]) => `${name} ${now}${past(before)}`)]
    }

    function aim(at) {
        if (Object.is(at, cross)) return
        cross = at
        touch()
    }

    /** The words and the picture beside a place, from one place across to another. */
    function tip(number, text, still, [x, y], [low, high], height) {
        if (!tips[number]) {
            tips[number] = element("div", "avid-tip", stage)
            element("img", "", tips[number]).addEventListener("load", touch)
            element("div", "", tips[number])
        }
        const [picture, words] = tips[number].children
        words.textContent = text
        tips[number].style.display = text ? "block" : "none"
        picture.style.display = still ? "block" : "none"
        if (still && picture.src !== still) picture.src = still
        const {offsetWidth: wide, offsetHeight: deep} = tips[number]
        const left = x + 18 + wide <= high || x - low < high - x ? x + 14 : x - 14 - wide
        tips[number].style.left = `${Math.max(low, Math.min(left, high - wide))}px`
        tips[number].style.top = `${Math.max(0, Math.min(y - deep / 2, height - deep))}px`
    }

    // Pointer

    const boxAt = ([x, y]) => boxes.find(({left, right, top, bottom}) =>
        x >= left - 10 && x <= right + 10 && y >= top - 12 && y <= bottom + 10)
    /** The plot whose share of the canvas it is: a lasso may begin beside the points. */
    const around = ([x, y]) => boxAt([x, y]) ?? boxes.find(({outer, wide, top, bottom}) =>
        x >= outer && x <= outer + wide && y >= top - 30 && y <= bottom + 10)
    /** The point nearest to a place within reach, or the bar there; -1 for none. */
    function itemAt([x, y]) {
        const at = boxAt([x, y])
        let best = -1, least = REACH * REACH
        for (const {box, mark, count} of touchable().filter(({box}) => box === at)) for (let i = 0; i < count; i++) {
            if (mark.type === "Bars") {
                if (x >= box.X(mark.left[i]) - 1 && x < box.X(mark.right[i]) + 1) return i
                continue
            }
            const [a, b] = place(box, mark, i), far = (a - x) ** 2 + (b - y) ** 2
            if (far < least && shown(mark, i)) { best = i; least = far }
        }
        return best
    }

    function set(name, value) {
        model.set(name, value)
        send()
    }

    function drag(x) {
        const [low, high, step] = guide().drag, value = Math.min(high, Math.max(low, x))
        const next = Number((Math.round(value / step) * step).toFixed(6))
        if (next === model.get("guide")) return
        set("guide", next)
        told.textContent = String(next)
    }

    function hover(i) {
        if (i === model.get("hovered")) return
        set("hovered", i)
        fetch(i)
        hush()
        if (i >= 0 && !muted && model.get("_sounds")) dwell = setTimeout(() => whisper(i), DWELL_MS)
    }

    // A point sounds after a quarter of a second, unless a clip plays.
    const voice = new Audio(), sounds = new Map()
    let dwell = 0
    voice.volume = VOLUME

    function hush() {
        clearTimeout(dwell)
        voice.pause()
    }

    function whisper(i) {
        const plays = [...document.querySelectorAll("video:not(.avid-silent)")].some(video => !video.paused)
        if (plays || i !== model.get("hovered")) return
        if (!sounds.has(i)) {
            sounds.set(i, "")
            model.send({sound: i})
        } else if (sounds.get(i)) {
            voice.src = sounds.get(i)
            voice.play().catch(() => {})  // a page that was not touched yet may not sound
        }
    }

    const escape = event => {
        if (event.key !== "Escape") return
        hush()
        aim(NaN)
    }
    document.addEventListener("keydown", escape, true)

    function fetch(i) {
        if (i < 0 || !model.get("_thumbnails") || stills.has(i)) return
        stills.set(i, "")
        model.send({thumbnail: i})
    }

    function forget() {
        hush()
        for (const one of [...stills.values(), ...sounds.values()]) if (one) URL.revokeObjectURL(one)
        stills.clear()
        sounds.clear()
    }

    function click(i, adds) {
        hush()
        const selects = points().length > 0, old = adds ? model.get("selected") : []
        if (!selects && i < 0) return
        model.set("clicked", i)
        const selected = old.includes(i) ? old.filter(j => j !== i) : [...old, i]
        if (selects) model.set("selected", i < 0 ? [] : selected)
        send()
        told.textContent = i < 0 ? "nothing selected" : `selected ${model.get("labels")[i]}`
    }

    const at = event => [event.offsetX, event.offsetY]
    over.addEventListener("pointerdown", event => {
        const box = around(at(event))
        if (event.button || !box || !(guide() || touchable().length)) return
        over.setPointerCapture(event.pointerId)
        if (guide()) {
            if (!box.marks.some(mark => mark.drag)) return
            held = box
            drag(held.value(event.offsetX))
        } else pressed = at(event)
    })
    over.addEventListener("pointermove", event => {
        if (held) return drag(held.value(event.offsetX))
        pointer = at(event)
        const [x, y] = pointer, far = pressed && Math.hypot(x - pressed[0], y - pressed[1]) > 5
        if (lasso || (far && points().length && model.get("_lasso"))) {
            (lasso ??= [pressed]).push([x, y])
            touch()
        } else if (!pressed) {
            const box = boxAt([x, y]), drags = box?.marks.some(mark => mark.drag)
            hover(itemAt([x, y]))
            aim(box?.crosshair ? nearby(box, box.value(x)) : NaN)
            const plain = model.get("hovered") < 0 ? "default" : "pointer"
            over.style.cursor = drags ? "ew-resize" : points().length && model.get("_lasso") ? "crosshair" : plain
        }
    })
    over.addEventListener("pointerup", event => {
        if (lasso) {
            const box = around(lasso[0]), caught = points().filter(one => one.box === box).flatMap(({mark, count}) =>
                [...Array(count).keys()].filter(i => inside(...place(box, mark, i), lasso)))
            set("selected", event.shiftKey ? [...new Set([...model.get("selected"), ...caught])] : caught)
            told.textContent = `${caught.length} points selected`
        } else if (pressed) click(itemAt(pressed), event.shiftKey)
        pressed = lasso = held = null
        touch()
    })
    over.addEventListener("pointercancel", () => { pressed = lasso = held = null; touch() })
    over.addEventListener("pointerleave", () => {
        aim(NaN)
        if (!pressed && !held) hover(-1)
    })

    // Keys. Arrows move the line or the crosshair, go from bar to bar, or to the nearest point within 45 degrees of
    // their direction; Home and End begin the crosshair; Enter clicks, Shift+Enter adds, Escape clears.
    const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}
    over.addEventListener("keydown", event => {
        if (event.ctrlKey || event.metaKey || event.altKey) return  // JupyterLab's: Ctrl+Enter, Ctrl+S
        const now = model.get("hovered"), arrow = ARROWS[event.key], way = arrow && (arrow[0] - arrow[1])
        const [first] = touchable(), plane = boxes.find(box => box.crosshair), far = event.shiftKey ? 10 : 1
        const edge = ["Home", "End"].indexOf(event.key)
        if (arrow && guide()) drag(model.get("guide") + way * guide().drag[2] * far)
        else if (plane && (edge >= 0 || (arrow && (crossed().length || !first)))) {
            aim(nearby(plane, arrow && crossed().length ? cross + way * far : plane.limits[arrow ? 1 : edge]))
            told.textContent = crossed().map(box => `${box.title}: ${reading(box).join(", ")}.`).join(" ")
        } else if (arrow && first) {
            const beside = Math.min(first.count - 1, Math.max(0, now + way))
            const next = first.mark.type === "Bars" ? beside : ahead(now, arrow, first)
            hover(next)
            told.textContent = model.get("labels")[next] ?? ""
        } else if ((event.key === "Enter" || event.key === " ") && first) click(now, event.shiftKey)
        else if (event.key === "Escape" && (points().length || plane)) click(-1, false)
        else return
        event.preventDefault()
        event.stopPropagation()  // JupyterLab would run the cell or leave it
    })
    function ahead(now, [dx, dy], {box, mark, count}) {
        const middle = [(box.left + box.right) / 2, (box.top + box.bottom) / 2]
        const [x, y] = now >= 0 && now < count ? place(box, mark, now) : middle
        let best = now, least = Infinity
        for (let i = 0; i < count; i++) {
            const [a, b] = place(box, mark, i)
            const along = (a - x) * dx + (b - y) * dy, across = Math.abs((a - x) * dy + (b - y) * dx)
            const reached = now < 0 || (along > 0.5 && across <= along), far = along + 2 * across
            if (i !== now && reached && far < least && shown(mark, i)) { best = i; least = far }
        }
        return best
    }

    /** The legend: kinds of points, to press, and lines. */
    function list() {
        const entries = new Map()
        for (const mark of chart.plots.flatMap(plot => (plot.legend || chart.legend ? plot.marks : []))) {
            mark.names?.forEach((text, kind) => {
                const i = mark.kind.indexOf(kind)
                if (text) entries.set(text, {kind, colour: mark.colours[kind], shape: mark.shape[i] ?? 0})
            })
            const {legend, colour = mark.colours, dash = []} = mark
            if (legend) entries.set(legend, {kind: -1, colour, dash})
        }
        const lassos = model.get("_lasso") && chart.plots.some(plot => plot.marks.some(mark => mark.type === "Points"))
        const now = JSON.stringify([[...entries], colours.paper, model.get("_sounds"), lassos])
        if (now === listed) return
        listed = now
        legend.replaceChildren()
        for (const [text, {kind, colour, shape, dash}] of entries) {
            const button = element(kind < 0 ? "span" : "button", "avid-entry", legend), wide = kind < 0 ? 20 : 12
            const sheet = element("canvas", "", button), p = pen(sheet, wide, 12)
            sheet.style.cssText = `width:${wide}px;height:12px`
            element("span", "", button).textContent = text
            if (kind < 0) { stroke(p, [[0, 6], [wide, 6]], paint(colour), 2.4, dash); continue }
            Object.assign(button, {type: "button", kind})
            button.addEventListener("click", () => { set("focused", focus() === kind ? -1 : kind); ask() })
            p.translate(6, 6)
            p.beginPath()
            SHAPES[shape](p, 4.2)
            p.fillStyle = paint(colour)
            p.fill()
        }
        if (lassos)
            element("span", "avid-entry avid-hint", legend).textContent = "Drag a loop around points to list them."
        if (model.get("_sounds")) {
            const button = element("button", "avid-entry avid-mute", legend)
            Object.assign(button, {type: "button", title: "Points sound when the pointer rests on them"})
            button.addEventListener("click", () => { muted = !muted; hush(); press() })
        }
        press()
    }
    const press = () => {
        for (const button of legend.children) {
            if (button.classList.contains("avid-mute")) button.textContent = muted ? "♪ sound off" : "♪ sound on"
            else if (button.kind !== undefined) button.setAttribute("aria-pressed", String(button.kind === focus()))
        }
    }

    const received = (message, buffers) => {
        if (message.sound !== undefined && buffers?.[0]) {
            sounds.set(message.sound, URL.createObjectURL(new Blob([buffers[0]], {type: "video/mp4"})))
            whisper(message.sound)
        }
        if (message.thumbnail === undefined) return
        const jpeg = buffers?.[0], still = jpeg ? URL.createObjectURL(new Blob([jpeg], {type: "image/jpeg"})) : ""
        stills.set(message.thumbnail, still)
        touch()
    }
    /** Other words are of other things: a point may now stand for another clip. */
    function renamed() {
        forget()
        fetch(model.get("hovered"))
        touch()
    }
    const [ask, stop] = redrawn(stage, draw)
    const deaf = listen(model, {
        "change:_chart": arrive, "change:labels": renamed, "change:selected": ask, "change:guide": ask,
        "change:clicked": touch, "change:hovered": touch, "change:focused": () => { press(); ask() },
        "msg:custom": received,
    })
    // Pixels of a place in a plot and of a point or bar, for those who look from outside.
    over.place = (plot, x, y) => [boxes[plot].X(x), boxes[plot].Y(y)]
    over.spot = (i, mark = 0) => place(touchable()[mark].box, touchable()[mark].mark, i)
    arrive()
    const unnamed = nameSliders(root)
    return () => {
        stop()
        deaf()
        unnamed()
        document.removeEventListener("keydown", escape, true)
        forget()
    }
}

export default {render}
