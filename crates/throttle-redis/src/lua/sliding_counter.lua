  -- The sliding window counter: the weight of the previous window decreases as the current window passes.
  --
  -- After the time e of the current window, prev·(W−e) + cur·W of N·W are used. Here all terms are divided by W:
  -- `faded` is the weighted count of the previous window, rounded up.
  if kind == SLIDING_WINDOW_COUNTER then
    local start, prev, cur = 0, 0, 0
    if value then
      start, prev, cur = struct.unpack('>ddd', value, 2)
      if not (is_whole(start) and is_whole(prev) and is_whole(cur)
        and prev <= 999999999999999 and cur <= 999999999999999) then
        return nil, i .. ': a number of its windows is out of range'
      end
    end

    -- is_ahead, advance
    ahead = ahead or start > now
    local holds = prev > 0 or cur > 0
    if now < start and holds then
      start = now -- the clock stepped back
    elseif now - start >= window and holds then
      start, prev, cur = start + window, cur, 0
      holds = prev > 0
    end
    if not holds or now - start >= window then
      start, prev, cur = now - now % window, 0, 0
    end
    local left, faded = start + window - now, 0
    if prev > 0 then
      local whole, part = mul_div(prev, left, window)
      faded = part > 0 and whole + 1 or whole
    end

    -- decide
    if asks and faded + cur + cost > limit then
      -- The weight decreases with time, so the wait ends when the weighted count is low enough. That is within
      -- the current window if its own count has room for the cost, and otherwise in the next window.
      local room, count = limit - cur - cost, prev
      allowed, wait = false, left
      if room < 0 then
        room, count, wait = limit - cost, cur, left + window
      end
      wait = wait - mul_div(room, window, count) -- less than a window, because room < count
    end

    -- refund
    if refunds then
      if charged_at < 0 or charged_at == start then
        cur = cur > cost and cur - cost or 0
      elseif charged_at + window == start then
        prev = prev > cost and prev - cost or 0
      end
    end

    all_allowed, reply = acquire(i + 1, all_allowed and allowed)
    if all_allowed == nil then
      return nil, reply
    end

    -- charge
    charges = all_allowed and acquires
    if charges then
      cur, charged_at = cur + cost, start
    end

    -- availability, lifetime
    remaining, lifetime = limit - faded - cur, cur > 0 and left + window or prev > 0 and left or 0
    format, a, b, c, d = '>Bdddd', start, prev, cur, window
  end
