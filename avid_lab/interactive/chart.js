// Histograms, bars and lines on a canvas: a line to drag, bars to click. Dragging is drawn here and only told the kernel.

function render({model, el}) {
    const root = element("div", "avid-chart", el)
    const stage = element("div", "avid-stage", root)
    const under = element("canvas", "avid-points", stage), over = element("canvas", "avid-touch", stage)
    const tip = element("div", "avid-tip", stage)
    const told = element("div", "avid-told", root)
    told.setAttribute("aria-live", "polite")
    over.tabIndex = 0
    over.setAttribute("role", "application")
    over.dataset.lmSuppressShortcuts = "true"  // else JupyterLab takes arrows and Enter for its cells

    const send = sender(model, 30)
    let colours = theme(root), panels = [], dragging = false, font = ""
    const spec = () => model.get("_spec")
    const paint = colour => ({ink: colours.ink, muted: colours.muted, faint: colours.faint}[colour]
        ?? readable(colour, colours.dark))

    /** Where each panel lies, and its scales. */
    function layout(width) {
        const {columns, rows, height, panels: given} = spec(), total = list => list.reduce((a, b) => a + b, 0)
        const edges = (list, size) => list.reduce((found, w) => [...found, found.at(-1) + w / total(list) * size], [0])
        const across = edges(columns, width), down = edges(rows, height)
        return given.map(panel => {
            const [row, column, deep] = panel.cell
            const left = across[column] + (panel.yticks ? 40 : 12) + (panel.ylabel ? 16 : 0)
            const top = down[row] + (panel.title ? 30 : 8)
            const right = across[column + 1] - 12
            const bottom = down[row + deep] - (panel.xticks ? 20 : 6) - (panel.xlabel ? 18 : 0)
            const [x0, x1] = panel.xlim, [y0, y1] = panel.ylim
            return {
                ...panel, left, top, right, bottom, outer: across[column],
                X: x => left + (x - x0) / (x1 - x0) * (right - left),
                Y: y => bottom - (y - y0) / (y1 - y0) * (bottom - top),
                value: at => x0 + (at - left) / (right - left) * (x1 - x0),
            }
        })
    }

    function text(p, words, x, y, colour, align = "left", weight = 400, size = 12) {
        p.font = `${weight} ${size}px ${font}`
        p.textAlign = align
        p.fillStyle = colour
        p.fillText(words, x, y)
    }

    function stroke(p, places, colour, wide = 1, dash = false) {
        p.beginPath()
        places.forEach(([x, y], i) => (i ? p.lineTo(x, y) : p.moveTo(x, y)))
        p.lineWidth = wide
        p.strokeStyle = colour
        p.setLineDash(dash ? [5, 4] : [])
        p.stroke()
        p.setLineDash([])
    }

    /** A histogram; where there is a line to drag, what lies right of it is stronger. */
    function area(p, panel, {start, step, heights, colour}) {
        const shade = paint(colour), outline = []
        heights.forEach((h, i) => outline.push(
            [panel.X(start + i * step), panel.Y(h)], [panel.X(start + (i + 1) * step), panel.Y(h)]))
        const base = panel.Y(0), all = [[outline[0][0], base], ...outline, [outline.at(-1)[0], base]]
        const cut = panel.guide ? Math.min(Math.max(panel.X(model.get("guide")), panel.left), panel.right) : panel.left
        for (const [from, to, alpha] of [[panel.left, cut, 0.2], [cut, panel.right, 0.52]]) {
            p.save()
            p.beginPath()
            p.rect(from, panel.top - 2, to - from, panel.bottom - panel.top + 4)
            p.clip()
            p.beginPath()
            all.forEach(([x, y], i) => (i ? p.lineTo(x, y) : p.moveTo(x, y)))
            p.globalAlpha = alpha
            p.fillStyle = shade
            p.fill()
            p.restore()
        }
        stroke(p, outline, shade, 1.3)
    }

    function frame(p, panel) {
        const {left, top, right, bottom, X, Y} = panel
        if (panel.title) text(p, panel.title, panel.outer + 12, top - 14, colours.ink, "left", 650, 13)
        for (const value of panel.xticks ? ticks(...panel.xlim, (right - left) / 70) : []) {
            stroke(p, [[X(value), top], [X(value), bottom]], colours.grid)
            text(p, tickText(value), X(value), bottom + 15, colours.muted, "center", 400, 11)
        }
        for (const value of panel.yticks ? ticks(...panel.ylim, (bottom - top) / 42) : []) {
            stroke(p, [[left, Y(value)], [right, Y(value)]], colours.grid)
            text(p, tickText(value), left - 6, Y(value) + 4, colours.muted, "right", 400, 11)
        }
        if (panel.xlabel) text(p, panel.xlabel, (left + right) / 2, bottom + (panel.xticks ? 33 : 15), colours.muted, "center")
        if (panel.ylabel) {
            p.save()
            p.translate(panel.outer + 13, (top + bottom) / 2)
            p.rotate(-Math.PI / 2)
            text(p, panel.ylabel, 0, 0, colours.muted, "center")
            p.restore()
        }
    }

    function marks(p, panel) {
        const {X, Y, left, right, top, bottom} = panel
        p.save()
        p.beginPath()
        p.rect(left - 5, top - 5, right - left + 10, bottom - top + 10)
        p.clip()
        for (const one of panel.areas ?? []) area(p, panel, one)
        for (const {x, y, colour} of panel.bars ?? []) {
            const [a, b] = [X(x[0]), X(x[1])], [low, high] = [Y(0), Y(y)].sort((c, d) => c - d)
            p.fillStyle = paint(colour)
            p.fillRect(a, low, Math.max(b - a, 1), Math.max(high - low, 1))
        }
        for (const {points, colour, wide, dash, dots} of panel.lines ?? []) {
            const places = points.map(([x, y]) => [X(x), Y(y)])
            stroke(p, places, paint(colour), wide ?? 1.8, dash)
            for (const [x, y] of dots ? places : []) {
                p.beginPath()
                p.arc(x, y, 3.2, 0, 7)
                p.fillStyle = paint(colour)
                p.fill()
            }
        }
        p.restore()
        for (const {at, words, colour, align, bold} of panel.texts ?? [])
            text(p, words, left + at[0] * (right - left), bottom - at[1] * (bottom - top), paint(colour), align, bold ? 650 : 400)
    }

    function draw() {
        const width = stage.clientWidth, {height} = spec()
        if (!width) return
        colours = theme(root)
        font = getComputedStyle(root).fontFamily
        stage.style.height = `${height}px`
        panels = layout(width)
        const p = pen(under, width, height)
        for (const panel of panels) frame(p, panel)
        for (const panel of panels) marks(p, panel)
        over.setAttribute("aria-label", spec().about)
        touch()
    }

    const every = () => panels.flatMap(panel => (panel.bars ?? []).map(bar => ({panel, bar})))

    function touch() {
        const width = stage.clientWidth, {height, guide} = spec()
        const p = pen(over, width, height), hovered = model.get("hovered"), clicked = model.get("clicked")
        for (const panel of panels.filter(one => one.guide)) {
            const x = panel.X(model.get("guide"))
            stroke(p, [[x, panel.top - 4], [x, panel.bottom]], colours.ink, 2)
            p.beginPath()
            p.arc(x, panel.top - 4, 5, 0, 7)
            p.fillStyle = colours.ink
            p.fill()
        }
        for (const {panel, bar} of every()) {
            if (bar.id !== hovered && bar.id !== clicked) continue
            const [a, b] = bar.x.map(panel.X)
            p.fillStyle = colours.ink
            p.globalAlpha = bar.id === clicked ? 0.16 : 0.07
            p.fillRect(a - 1, panel.top, b - a + 2, panel.bottom - panel.top)
            p.globalAlpha = 1
        }
        const first = every().find(({bar}) => bar.id === hovered)
        tip.style.display = first ? "block" : "none"
        if (!first) return
        tip.textContent = first.bar.label
        const x = (first.panel.X(first.bar.x[0]) + first.panel.X(first.bar.x[1])) / 2
        tip.style.left = `${x + 14 + tip.offsetWidth > width ? x - 12 - tip.offsetWidth : x + 12}px`
        tip.style.top = `${first.panel.top}px`
    }

    const at = event => panels.find(({left, right, top, bottom}) =>
        event.offsetX >= left - 9 && event.offsetX <= right + 9 && event.offsetY >= top - 12 && event.offsetY <= bottom + 4)
    function barAt(event) {
        const panel = at(event)
        const found = (panel?.bars ?? []).find(({x}) => event.offsetX >= panel.X(x[0]) - 1 && event.offsetX < panel.X(x[1]) + 1)
        return found?.id ?? -1
    }
    function drag(value) {
        const {low, high, step} = spec().guide
        const next = Number((Math.round(Math.min(high, Math.max(low, value)) / step) * step).toFixed(6))
        if (next === model.get("guide")) return
        model.set("guide", next)
        send()
        told.textContent = String(next)
    }
    function pick(name, id) {
        if (model.get(name) === id) return
        model.set(name, id)
        send()
        touch()
    }

    let held = null
    over.addEventListener("pointerdown", event => {
        const panel = at(event)
        if (event.button || !panel) return
        if (panel.guide) {
            held = panel
            over.setPointerCapture(event.pointerId)
            drag(panel.value(event.offsetX))
        } else if (barAt(event) >= 0) pick("clicked", barAt(event))
    })
    over.addEventListener("pointermove", event => {
        if (held) return drag(held.value(event.offsetX))
        const panel = at(event)
        over.style.cursor = panel?.guide ? "ew-resize" : barAt(event) >= 0 ? "pointer" : "default"
        pick("hovered", barAt(event))
    })
    for (const end of ["pointerup", "pointercancel"]) over.addEventListener(end, () => { held = null })
    over.addEventListener("pointerleave", () => { if (!held) pick("hovered", -1) })

    // Arrows move the line, or go from bar to bar; Enter clicks the bar.
    over.addEventListener("keydown", event => {
        const way = {ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1}[event.key]
        const bars = panels.find(panel => panel.bars?.length)?.bars ?? []
        if (way && spec().guide) drag(model.get("guide") + way * spec().guide.step * (event.shiftKey ? 10 : 1))
        else if (way && bars.length) {
            const now = bars.findIndex(bar => bar.id === model.get("hovered"))
            const next = bars[Math.min(bars.length - 1, Math.max(0, now + way))]
            pick("hovered", next.id)
            told.textContent = next.label
        } else if ((event.key === "Enter" || event.key === " ") && model.get("hovered") >= 0) pick("clicked", model.get("hovered"))
        else return
        event.preventDefault()
        event.stopPropagation()
    })

    const [ask, stop] = redrawn(stage, draw)
    const listeners = {"change:_spec": ask, "change:guide": ask, "change:clicked": touch, "change:hovered": touch}
    for (const [event, act] of Object.entries(listeners)) model.on(event, act)
    over.place = (panel, x, y) => [panels[panel].X(x), panels[panel].Y(y)]  // pixels, for those who look from outside
    ask()
    return () => {
        stop()
        for (const [event, act] of Object.entries(listeners)) model.off(event, act)
    }
}

export default {render}
