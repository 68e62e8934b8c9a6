// Points on a canvas: hover, click, lasso, arrows. Everything the pointer does is drawn here, without the kernel.

const REACH = 14  // pixels from the pointer within which a point is touched
const FLIGHT_MS = 320

const SHAPES = {
    o: (p, r) => p.arc(0, 0, r, 0, 7),
    s: (p, r) => p.rect(-0.86 * r, -0.86 * r, 1.72 * r, 1.72 * r),
    "^": (p, r) => corners(p, [[0, -1.15], [1.08, 0.8], [-1.08, 0.8]], r),
    v: (p, r) => corners(p, [[0, 1.15], [1.08, -0.8], [-1.08, -0.8]], r),
    D: (p, r) => corners(p, [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]], r),
    P: (p, r) => corners(p, turned([[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4]], 0), r),
    X: (p, r) => corners(p, turned([[-0.4, -1.1], [0.4, -1.1], [0.4, -0.4]], Math.PI / 4), r),
    p: (p, r) => corners(p, [...Array(5)].map((_, i) => [1.12 * Math.sin(i * 1.2566), -1.12 * Math.cos(i * 1.2566)]), r),
}

function corners(p, places, r) {
    places.forEach(([x, y], i) => (i ? p.lineTo(x * r, y * r) : p.moveTo(x * r, y * r)))
    p.closePath()
}

/** A quarter of a cross and its three quarter turns. */
function turned(quarter, start) {
    const at = (x, y, a) => [x * Math.cos(a) - y * Math.sin(a), x * Math.sin(a) + y * Math.cos(a)]
    return [0, 1, 2, 3].flatMap(i => quarter.map(([x, y]) => at(x, y, start + i * Math.PI / 2)))
}

function inside(x, y, polygon) {
    let within = false
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i++) {
        const [ax, ay] = polygon[i], [bx, by] = polygon[j]
        if (ay > y !== by > y && x < (bx - ax) * (y - ay) / (by - ay) + ax) within = !within
    }
    return within
}

const floats = view => new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
const bytes = view => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)

function render({model, el}) {
    const root = element("div", "avid-scatter", el)
    const stage = element("div", "avid-stage", root)
    const under = element("canvas", "avid-points", stage), over = element("canvas", "avid-touch", stage)
    const tip = element("div", "avid-tip", stage)
    const picture = element("img", "", tip), words = element("div", "", tip)
    const legend = element("div", "avid-legend", root)
    const told = element("div", "avid-told", root)
    told.setAttribute("aria-live", "polite")
    over.tabIndex = 0
    over.setAttribute("role", "application")
    over.dataset.lmSuppressShortcuts = "true"  // else JupyterLab takes arrows and Enter for its cells

    const send = sender(model, 60)
    let shown = null, view = null  // what is on the screen: (2N,) and [left, right, bottom, top]
    let flight = null, box = null, colours = theme(root), focus = model.get("focused"), lasso = null, pressed = null
    const stills = new Map(), stamps = new Map()
    let listed = ""  // what the legend was made of

    const look = () => model.get("_look")
    const count = () => shown.length / 2
    const X = x => box.left + (x - view[0]) / (view[1] - view[0]) * box.width
    const Y = y => box.top + (view[3] - y) / (view[3] - view[2]) * box.height
    const place = i => [X(shown[i]), Y(shown[count() + i])]
    const kind = i => bytes(model.get("_colours"))[i]

    /** Begin to move from what is shown to where the points should be. */
    function depart() {
        const to = floats(model.get("_points")), aim = [...model.get("_view")]
        const still = !look().travel || window.matchMedia("(prefers-reduced-motion: reduce)").matches
        if (still || !shown || shown.length !== to.length) { shown = to; view = aim; flight = null }
        else flight = {from: shown.slice(), to, since: view.slice(), aim, begun: performance.now()}
        ask()
    }

    function move(now) {
        if (!flight) return
        const t = Math.min(1, Math.max(0, (now - flight.begun) / FLIGHT_MS)), e = t * t * (3 - 2 * t)
        shown = flight.from.map((a, i) => a + e * (flight.to[i] - a))
        view = flight.since.map((a, i) => a + e * (flight.aim[i] - a))
        if (t === 1) flight = null
        else ask()
    }

    function layout(width) {
        const {height, ticks: marked, equal, title, xlabel, ylabel} = look()
        box = {left: marked ? 52 : ylabel ? 26 : 8, top: title ? 34 : 10}
        box.width = Math.max(60, width - box.left - 14)
        box.height = Math.max(60, height - box.top - (marked ? 24 : 4) - (xlabel ? 22 : 6))
        if (!equal) return
        // One unit is as long across as up: the smaller scale fits both.
        const scale = Math.min(box.width / (view[1] - view[0]), box.height / (view[3] - view[2]))
        const wide = (view[1] - view[0]) * scale, high = (view[3] - view[2]) * scale
        box.left += (box.width - wide) / 2
        box.top += (box.height - high) / 2
        box.width = wide
        box.height = high
    }

    function axes(p, width) {
        const {title, xlabel, ylabel, ticks: marked, height} = look()
        const font = getComputedStyle(root).fontFamily
        if (title) {
            p.font = `650 14px ${font}`
            p.fillStyle = colours.ink
            p.textAlign = "left"
            p.fillText(title, marked ? box.left : 8, 18)
        }
        p.font = `11px ${font}`
        p.lineWidth = 1
        if (marked) {
            for (const value of ticks(view[0], view[1], box.width / 90)) {
                line(p, [[X(value), box.top], [X(value), box.top + box.height]], colours.grid)
                p.fillStyle = colours.muted
                p.textAlign = "center"
                p.fillText(tickText(value), X(value), box.top + box.height + 16)
            }
            for (const value of ticks(view[2], view[3], box.height / 60)) {
                line(p, [[box.left, Y(value)], [box.left + box.width, Y(value)]], colours.grid)
                p.fillStyle = colours.muted
                p.textAlign = "right"
                p.fillText(tickText(value), box.left - 7, Y(value) + 4)
            }
        }
        p.fillStyle = colours.muted
        p.font = `12px ${font}`
        p.textAlign = "center"
        if (xlabel) p.fillText(xlabel, box.left + box.width / 2, height - 7)
        if (ylabel) {
            p.save()
            p.translate(marked ? 13 : 16, box.top + box.height / 2)
            p.rotate(-Math.PI / 2)
            p.fillText(ylabel, 0, 0)
            p.restore()
        }
    }

    function line(p, places, colour, wide = 1, dash = [], fill = null, closed = false) {
        p.beginPath()
        places.forEach(([x, y], i) => (i ? p.lineTo(x, y) : p.moveTo(x, y)))
        if (closed) p.closePath()
        if (fill) { p.fillStyle = fill; p.fill() }
        p.setLineDash(dash)
        p.lineWidth = wide
        p.strokeStyle = colour
        p.stroke()
        p.setLineDash([])
    }

    /** Lines over the points: contours, thresholds. */
    function overlay(p) {
        for (const {points, colour, dash, label, fill} of model.get("_lines")) {
            const paint = readable(colour, colours.dark), places = points.map(([x, y]) => [X(x), Y(y)])
            const [r, g, b] = paint.match(RED_GREEN_BLUE)
            line(p, places, paint, 1.8, dash ? [6, 4] : [], fill ? `rgba(${r},${g},${b},0.10)` : null, fill)
            if (!label) continue
            const seen = places.filter(([x, y]) => x >= box.left && x <= box.left + box.width && y >= box.top)
            const [x, y] = seen.length ? seen.reduce((a, c) => (c[1] < a[1] ? c : a)) : places[0]
            write(p, label, Math.min(x + 5, box.left + box.width - 8 * label.length), Math.max(y - 6, box.top + 10), paint)
        }
    }

    function write(p, text, x, y, colour, align = "left") {
        p.font = `600 12px ${getComputedStyle(root).fontFamily}`
        p.textAlign = align
        p.lineJoin = "round"
        p.lineWidth = 3.5
        p.strokeStyle = colours.paper
        p.strokeText(text, x, y)
        p.fillStyle = colour
        p.fillText(text, x, y)
    }

    function clip(p) {
        p.beginPath()
        p.rect(box.left - 8, box.top - 8, box.width + 16, box.height + 16)
        p.clip()
    }

    /** One small picture for each colour and shape, painted many times; a canvas is dear to make. */
    function stampOf(colour, shape, radius, side) {
        const key = [colour, shape, radius, colours.dark, colours.paper, window.devicePixelRatio].join()
        if (stamps.size > 500) stamps.clear()
        if (!stamps.has(key)) {
            const sheet = document.createElement("canvas"), q = pen(sheet, side, side)
            q.translate(side / 2, side / 2)
            q.beginPath()
            SHAPES[shape](q, radius)
            q.fillStyle = readable(colour, colours.dark)
            q.fill()
            q.lineWidth = 0.7
            q.strokeStyle = colours.paper
            q.stroke()
            stamps.set(key, sheet)
        }
        return stamps.get(key)
    }

    function drawPoints(p) {
        const {palette, markers, radius} = look(), selected = model.get("selected")
        const kinds = bytes(model.get("_colours")), forms = bytes(model.get("_markers"))
        const chosen = selected.length > 1 ? new Set(selected) : null
        const bright = i => (chosen ? chosen.has(i) : true) && (focus < 0 || kinds[i] === focus)
        const side = 2 * Math.ceil(1.5 * radius + 2), density = window.devicePixelRatio || 1, known = []
        const stamp = (colour, form) => known[256 * colour + form] ??= stampOf(palette[colour], markers[form], radius, side)
        for (const lit of [false, true]) {  // the dimmed ones below
            p.globalAlpha = lit ? 0.8 : 0.13
            for (let i = 0; i < count(); i++) {
                if (bright(i) !== lit) continue
                const [x, y] = place(i)
                // Whole device pixels keep the stamps sharp, except in flight.
                const at = flight ? [x, y] : [x, y].map(c => Math.round(c * density) / density)
                p.drawImage(stamp(kinds[i], forms[i]), at[0] - side / 2, at[1] - side / 2, side, side)
            }
        }
        p.globalAlpha = 1
    }

    function ring(p, i, radius, colour, wide) {
        const [x, y] = place(i)
        for (const [w, paint] of [[wide + 2, colours.paper], [wide, colour]]) {
            p.beginPath()
            p.arc(x, y, radius, 0, 7)
            p.lineWidth = w
            p.strokeStyle = paint
            p.stroke()
        }
    }

    function draw(now) {
        const width = stage.clientWidth, {height, radius} = look()
        if (!width) return
        const before = colours.dark
        colours = theme(root)
        if (before !== colours.dark) name()
        move(now)
        stage.style.height = `${height}px`
        layout(width)
        const p = pen(under, width, height)
        axes(p, width)
        p.save()
        clip(p)
        drawPoints(p)
        overlay(p)
        for (const {colour, index} of model.get("_rings"))
            for (const i of index) ring(p, i, radius + 3.5, colour ? readable(colour, colours.dark) : colours.ink, 1.8)
        p.restore()
        touch()
        for (const button of legend.children) button.setAttribute("aria-pressed", button.dataset.order === String(focus))
    }

    /** What follows the pointer: ring, lasso and the words beside. */
    function touch() {
        if (!box) return
        const width = stage.clientWidth, {height, radius} = look()
        const p = pen(over, width, height)
        const clicked = model.get("clicked"), hovered = model.get("hovered")
        if (clicked >= 0 && clicked < count()) ring(p, clicked, radius + 5, colours.ink, 2.4)
        if (lasso) line(p, lasso, colours.ink, 1.5, [5, 4], colours.dark ? "rgba(255,255,255,.08)" : "rgba(0,0,0,.06)", true)
        const seen = hovered >= 0 && hovered < count() && !lasso
        tip.style.display = seen ? "block" : "none"
        if (!seen) return
        ring(p, hovered, radius + 5, readable(look().palette[kind(hovered)], colours.dark), 2.4)
        const [x, y] = place(hovered)
        words.textContent = model.get("_labels")[hovered]
        const still = stills.get(hovered)
        picture.style.display = still ? "block" : "none"
        if (still) picture.src = still
        const right = x + 18 + tip.offsetWidth <= width || x < width / 2
        tip.style.left = `${right ? x + 14 : x - 14 - tip.offsetWidth}px`
        tip.style.top = `${Math.max(0, Math.min(y - tip.offsetHeight / 2, height - tip.offsetHeight))}px`
    }

    function nearest(x, y) {
        let best = -1, least = REACH * REACH
        for (let i = 0; i < count(); i++) {
            const [a, b] = place(i), d = (a - x) ** 2 + (b - y) ** 2
            if (d < least && (focus < 0 || kind(i) === focus)) { best = i; least = d }
        }
        return best
    }

    function hover(i) {
        if (i === model.get("hovered")) return
        model.set("hovered", i)
        send()
        fetch(i)
        touch()
    }

    function fetch(i) {
        if (i < 0 || !look().thumbnails || stills.has(i)) return
        stills.set(i, "")
        model.send({thumbnail: i})
    }

    function forget() {
        for (const still of stills.values()) if (still) URL.revokeObjectURL(still)
        stills.clear()
    }

    function select(index) {
        model.set("selected", index)
        send()
        ask()
    }

    function click(i, adds) {
        model.set("clicked", i)
        if (i < 0) select([])
        else if (adds) {
            const old = model.get("selected")
            select(old.includes(i) ? old.filter(j => j !== i) : [...old, i])
        } else select([i])
        told.textContent = i < 0 ? "nothing selected" : `selected ${model.get("_labels")[i]}`
    }

    over.addEventListener("pointerdown", event => {
        if (event.button || !box) return
        pressed = [event.offsetX, event.offsetY]
        over.setPointerCapture(event.pointerId)
    })
    over.addEventListener("pointermove", event => {
        if (!box) return
        const at = [event.offsetX, event.offsetY]
        if (pressed && (lasso || Math.hypot(at[0] - pressed[0], at[1] - pressed[1]) > 5)) {
            (lasso ??= [pressed]).push(at)
            touch()
        } else if (!pressed) hover(nearest(...at))
    })
    over.addEventListener("pointerup", event => {
        if (!pressed) return
        if (lasso) {
            const caught = [...Array(count()).keys()].filter(i => inside(...place(i), lasso))
            select(event.shiftKey ? [...new Set([...model.get("selected"), ...caught])] : caught)
            told.textContent = `${caught.length} points selected`
        } else click(nearest(...pressed), event.shiftKey)
        pressed = lasso = null
        touch()
    })
    over.addEventListener("pointercancel", () => { pressed = lasso = null; touch() })
    over.addEventListener("pointerleave", () => { if (!pressed) hover(-1) })

    // Arrows go to the nearest point within 45 degrees of their direction; Enter clicks, Shift+Enter adds.
    const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}
    over.addEventListener("keydown", event => {
        const at = model.get("hovered")
        if (event.key in ARROWS) {
            const [dx, dy] = ARROWS[event.key]
            const [x, y] = at >= 0 ? place(at) : [box.left + box.width / 2, box.top + box.height / 2]
            let best = at, least = Infinity
            for (let i = 0; i < count(); i++) {
                const [a, b] = place(i), along = (a - x) * dx + (b - y) * dy, across = Math.abs((a - x) * dy + (b - y) * dx)
                const far = along + 2 * across
                const ahead = at < 0 || (along > 0.5 && across <= along)
                if (i !== at && ahead && far < least && (focus < 0 || kind(i) === focus)) { best = i; least = far }
            }
            hover(best)
            if (best >= 0) told.textContent = model.get("_labels")[best]
        } else if (event.key === "Enter" || event.key === " ") click(at, event.shiftKey)
        else if (event.key === "Escape") click(-1, false)
        else return
        event.preventDefault()
        event.stopPropagation()  // JupyterLab would run the cell or leave it
    })

    function name() {
        const {title, xlabel, ylabel, names, palette, markers} = look()
        const axes = xlabel || ylabel ? `: ${xlabel} against ${ylabel}` : ""
        over.setAttribute("aria-label",
            `${title || "points"}${axes}. Arrows move between points, Enter selects, Escape clears.`)
        const kinds = [...bytes(model.get("_colours"))], forms = bytes(model.get("_markers"))
        const shapes = names.map((_, order) => markers[forms[kinds.indexOf(order)]] ?? "o")
        const now = JSON.stringify([names, palette, shapes, colours.dark])
        if (now === listed) return
        listed = now
        legend.replaceChildren()
        names.forEach((text, order) => {
            if (!text) return
            const button = element("button", "", legend)
            button.type = "button"
            button.dataset.order = order
            const sheet = element("canvas", "", button)
            sheet.style.cssText = "width:12px;height:12px"
            const p = pen(sheet, 12, 12)
            p.translate(6, 6)
            p.beginPath()
            SHAPES[shapes[order]](p, 4.2)
            p.fillStyle = readable(palette[order], colours.dark)
            p.fill()
            element("span", "", button).textContent = text
            button.addEventListener("click", () => {
                model.set("focused", focus === order ? -1 : order)
                send()
            })
        })
    }

    const received = (message, buffers) => {
        if (message.thumbnail === undefined) return
        stills.set(message.thumbnail, buffers.length ? URL.createObjectURL(new Blob([buffers[0]], {type: "image/jpeg"})) : "")
        touch()
    }
    /** Other words are of other things: a point may now stand for another clip. */
    function renamed() {
        forget()
        fetch(model.get("hovered"))
        touch()
    }
    const [ask, stop] = redrawn(stage, draw)
    const listeners = {
        "change:_points": depart, "change:_view": depart, "change:_look": () => { name(); ask() },
        "change:_colours": () => { name(); ask() }, "change:_markers": ask, "change:_labels": renamed,
        "change:_lines": ask, "change:_rings": ask, "change:selected": ask,
        "change:clicked": touch, "change:hovered": touch,
        "change:focused": () => { focus = model.get("focused"); ask() }, "msg:custom": received,
    }
    for (const [event, act] of Object.entries(listeners)) model.on(event, act)
    picture.addEventListener("load", touch)
    over.place = place  // pixels of a point, for those who look from outside
    depart()
    name()
    return () => {
        stop()
        for (const [event, act] of Object.entries(listeners)) model.off(event, act)
        forget()
    }
}

export default {render}
